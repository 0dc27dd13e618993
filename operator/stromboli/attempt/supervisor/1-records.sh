# PID 1 of an agent's container: runs the steps in /run/stromboli/plan/steps in order and records them.
#
# Written for busybox ash; uses nothing from the image, which may have no shell and no coreutils. Every process costs
# time, so builtins do most of the work; applets run inside ash if it supports that, otherwise through our busybox.
# Names begin with _ so that they cannot clash with the image's variables: assigning to one would change it for the
# agent.
#
# out/started             the start marker: a directory, since mkdir is atomic; only one container can run the attempt
# out/, out/seal          the seals (seals.py): broken, and synced to disk, before anything from the image runs, and
#                         before the CLI gets the prompt. Nothing in the container can restore one; plan/seals has
#                         their unbroken state
# out/record              lines, each a single write to a descriptor open from the start (records.py reads them):
#                           start CLOCK | begin STEP INDEX CLOCK | finish CODE CLOCK | end CAUSE CODE OOM_KILLS CLOCK
#                           input FILE CLOCK: which file of plan/ the CLI gets, prompt or continue
# out/stdout, out/stderr  the newest output of the CLI; older output is in *.old
# out/HOOK.INDEX          the output of a hook, stdout and stderr together, rotated in the same way
# out/*.from              of an output that was rotated: INODE OFFSET of the file that is *.old, or will be in a moment
#
# Signals: TERM cancels; USR1 and USR2 come from the timers below. A shell starts every background job with INT and QUIT
# ignored, and no shell can change that: the CLI resets them itself, and for hooks the coreutils `env` does.

_root=/run/stromboli
_plan=$_root/plan _out=$_root/out _session=$_root/session
# The secrets, read-only: NUL-terminated values in order, then each secret file after its size and a NUL, then the
# credentials file.
_given=$_root/handed
_files=$_root/secret  # where the secret files are written: a tmpfs of the container's own
_secrets=/dev/shm/.stromboli  # where the CLI may write its credentials: the container's own tmpfs, of limited size
_bb=$_plan/busybox _cli_mount=/opt/claude
_claude=$_session/claude
_unstarted='' _unsent='' _stamp=''
_cause='' _pid='' _count=0 _timer='' _records='' _signalled='' _code=0

_WORKDIR_UNUSABLE=119 _CLI_MISSING=120 _ALREADY_STARTED=121 _OUT_UNUSABLE=122 _SECRET_MISSING=123
# The codes above, and those of a kill, are reserved: if a child exits with one, the container exits with this instead.
_OTHER=1
_STDOUT_SEGMENT=5242880 _STDERR_SEGMENT=131072 _HOOK_SEGMENT=1048576  # bytes; two of each are kept
_HANDED_MOST=65536  # the most bytes that hooks may pass on
_newline='
'
_hooking='' _handed='' _input=prompt
_DRAIN=1  # seconds to wait for the last output while a leftover process holds the pipe open

# --- markers and records

# Sets _stamp to the inode of $1 and its change time.
_look_at() {
    _stamp=$(TZ=UTC0 $_bb stat -L -c '%i %z' "$1") || _stamp=
}

# Break the seal $1, whose unbroken state is $2. File system clocks are coarse: repeat until the change is visible.
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

# Record exit code $1 and exit with it, or with $2 if given. From here on, signals cannot change the cause any more.
_end() {
    trap '' TERM HUP USR1 USR2
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

# Note that the file of output $1 begins at offset $_from: before it is renamed, so that attempt/outputs.py finds the
# note about one of the two files that it has opened.
_note_from() {
    printf '%s\n' "$_inode $_from" >"$_out/.$1.from" && $_bb mv -f "$_out/.$1.from" "$_out/$1.from"
}

# Copy stdin to out/$1 until EOF, keeping the newest part: between $2 bytes and twice that. What does not fit on a full
# disk is dropped, so that the writer never blocks.
_record() {
    _size=0 _from=0
    while :; do
        if $_bb dd bs=64k iflag=count_bytes count=$(($2 - _size)) >>"$_out/$1"; then
            _full=
        else
            _full=1
            $_bb dd bs=64k count=16 >/dev/null
        fi
        _inode=$($_bb stat -c '%i %s' "$_out/$1") || _inode='0 0'
        _size=${_inode#* } _inode=${_inode% *}
        if [ "$_size" -ge "$2" ]; then
            _note_from "$1" && _noted=1 || _noted=
            $_bb mv -f "$_out/$1" "$_out/$1.old"
            [ -n "$_noted" ] || _note_from "$1"  # a full disk has room again
            _from=$((_from + _size)) _size=0
        elif [ -z "$_full" ]; then
            [ ! -f "$_out/$1" ] || $_bb sync "$_out/$1"
            return
        fi
    done 2>/dev/null
}
