# PID 1 of an agent's container: takes the steps of /run/stromboli/plan/steps in order and records them.
#
# For busybox ash, and for nothing of the image's: there may be no shell and no coreutils. Every process costs,
# so builtins do the most; applets run within ash where it can do that, else through our busybox.
# Names begin with _ lest they meet a variable of the image's: assigning to such a one would change it for the agent.
#
# out/started             the mark: a directory, since mkdir is atomic; only one container takes the attempt
# out/, out/seal          the seals (seals.py): broken, and that on disk, before anything of the image runs, and before
#                         the CLI gets the prompt. Nothing in the container can restore one; plan/seals has them unbroken
# out/record              lines, each one write to a descriptor held from the start (records.py reads them):
#                           start CLOCK | begin STEP INDEX CLOCK | finish CODE CLOCK | end CAUSE CODE OOM_KILLS CLOCK
# out/stdout, out/stderr  what the CLI wrote, the newest; what went before is in *.old
# out/HOOK.INDEX          what a hook wrote to either, likewise
#
# Signals: TERM cancels; USR1 and USR2 come from the timers below. Every background job of a shell ignores INT and QUIT
# when it begins, and no shell can change that: the CLI does it for itself, for hooks coreutils' `env` does it.

_root=/run/stromboli
_plan=$_root/plan _out=$_root/out _session=$_root/session
_secret_file=$_root/handed  # the secrets, read-only: each variable's and a NUL, in order, then the credentials file
_secrets=/dev/shm/.stromboli  # where the CLI may write its credentials: a tmpfs of the container's own, and bounded
_bb=$_plan/busybox _cli_mount=/opt/claude
_claude=$_session/claude
_unstarted='' _unsent='' _stamp=''
_cause='' _pid='' _count=0 _timer='' _records='' _signalled='' _code=0

_WORKDIR_UNUSABLE=119 _CLI_MISSING=120 _ALREADY_STARTED=121 _OUT_UNUSABLE=122 _SECRET_MISSING=123
# These and those of a kill are nobody else's: a child that ends with one ends the container with this.
_OTHER=1
_STDOUT_SEGMENT=5242880 _STDERR_SEGMENT=131072 _HOOK_SEGMENT=1048576  # bytes; two of each are kept
_HANDED_MOST=65536  # bytes that hooks may hand on
_newline='
'
_hooking='' _handed=''
_DRAIN=1  # seconds for the last output, if a process that was left behind holds the pipe open

# --- marks and records

# In _stamp: the inode of $1 and when it was last changed.
_look_at() {
    _stamp=$(TZ=UTC0 $_bb stat -L -c '%i %z' "$1") || _stamp=
}

# Break the seal $1, which is unbroken as $2. Clocks of file systems are coarse: until the change shows, it is repeated.
_break() {
    while $_bb touch -c "$1" && _look_at "$1" && [ "$_stamp" = "$2" ]; do :; done
    [ -n "$_stamp" ] && [ "$_stamp" != "$2" ] && $_bb sync "$1"
}

_refuse_if_started() {
    _look_at "$_out"
    if [ -e "$_out/started" ] || [ -L "$_out/started" ] || [ "$_stamp" != "$_unstarted" ]; then
        exit "$_ALREADY_STARTED"
    fi
}

_note() {
    printf '%s\n' "$* $EPOCHREALTIME" >&8
}

_oom_kills() {
    for _file in /sys/fs/cgroup/memory/memory.oom_control /sys/fs/cgroup/memory.events; do
        [ -r "$_file" ] || continue
        while read -r _key _value; do
            [ "$_key" != oom_kill ] || _oom=$_value
        done <"$_file"
    done
}

# End with exit code $1, or for who only sees the container's with $2: nothing can change the cause any more.
_end() {
    trap '' TERM USR1 USR2
    _oom=0
    _oom_kills
    _forget_credentials
    if [ -z "$_cause" ]; then
        if [ "$1" = 0 ]; then _cause=completed; else _cause=failed; fi
    fi
    _note end "$_cause" "$1" "$_oom"
    $_bb sync /proc/self/fd/8
    exit "${2:-$1}"
}

_fail() {
    printf 'stromboli: %s\n' "$2" >>"$_out/stderr"
    _end "$1"
}

# Copy stdin to out/$1 until its end, keeping the newest: between $2 bytes and twice that. What does not fit on a
# full disk is dropped, so that whoever writes is never held up.
_record() {
    _size=0
    while :; do
        if $_bb dd bs=64k iflag=count_bytes count=$(($2 - _size)) >>"$_out/$1"; then
            _full=
        else
            _full=1
            $_bb dd bs=64k count=16 >/dev/null
        fi
        _size=$($_bb stat -c %s "$_out/$1") || _size=0
        if [ "$_size" -ge "$2" ]; then
            $_bb mv -f "$_out/$1" "$_out/$1.old"
            _size=0
        elif [ -z "$_full" ]; then
            [ ! -f "$_out/$1" ] || $_bb sync "$_out/$1"
            return
        fi
    done 2>/dev/null
}
