# PID 1 of an agent's container: takes the steps of /run/stromboli/plan/steps in order and records them.
#
# For busybox ash, and for nothing of the image's: there may be no shell and no coreutils. Every process costs,
# so builtins do the most; applets run within ash where it can do that, else through our busybox.
# Names begin with _ lest they meet a variable of the image's: assigning to such a one would change it for the agent.
#
# out/started             the mark: a directory, since mkdir is atomic; only one container takes the attempt
# out/, out/seal          the seals (seals.py): broken, and that on disk, before anything of the image runs, and before
#                         the CLI gets the prompt. Nothing in the container can mend one; plan/seals has them unbroken
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

# --- time and signals

# After $1 seconds, signal $2 to the processes $3. The pipe at 9 never has data, so `read` is a clock, and no process.
_after() {
    (
        read -r -t "$1" -u 9 _
        kill "-$2" $3
    ) 2>/dev/null &
}

# TERM to the step's process group, KILL after the grace. Before the step has that group, its process is still a
# copy of this shell, in which a signal can get lost: so it is waited for.
_stop() {
    (
        until kill -TERM "-$_pid"; do
            kill -0 "$_pid" || exit
            read -r -t 0.02 -u 9 _
        done
        read -r -t "$_grace" -u 9 _
        kill -KILL "-$_pid"
    ) 2>/dev/null &
}

_interrupt() {
    _signalled=1
    [ -z "$_cause" ] || return
    _cause=$1
    [ -z "$_pid" ] || _stop
}

# Wait for child $1 whatever signals come; its exit code is in _code. Meanwhile orphans are reaped.
_await() {
    _code=
    while :; do
        _signalled=
        wait "$1"
        _got=$?
        [ "$_got" != 127 ] || [ -z "$_code" ] || return  # it had ended when the signal came
        _code=$_got
        [ -n "$_signalled" ] || return
    done
}

# --- steps

# Called by plan/steps for each secret: keep it in a variable for plan/env, which gives it its name.
_secret() {
    IFS= read -r -d '' -u 6 "_secret_$1" || exit "$_SECRET_MISSING"
}

_take_secrets() {
    [ -r "$_secret_file" ] && command exec 6<"$_secret_file" || exit "$_SECRET_MISSING"
    _read_secrets
    [ -z "$_credentials" ] || (
        umask 077
        $_bb mkdir -p "$_secrets" && $_bb cat <&6 >"$_secrets/.credentials.json"
    ) || exit "$_SECRET_MISSING"
    exec 6<&-
}

# Pipes and recorders for the next step: out/$1 gets its stdout, and out/$3 its stderr if there is a $3.
# A step has pipes of its own, since a process that an earlier one left behind may still hold that one's.
_pipes() {
    [ -z "$_cause" ] || _end 143
    _count=$((_count + 1))
    _stdout=$_out/.$_count.1 _stderr=
    [ -z "$3" ] || _stderr=$_out/.$_count.2
    $_bb mkfifo "$_stdout" $_stderr || _end "$_OUT_UNUSABLE"
    _record "$1" "$2" <"$_stdout" 7>&- 8>&- 9>&- &
    _records=$!
    [ -n "$3" ] || return 0
    _record "$3" "$4" <"$_stderr" 7>&- 8>&- 9>&- &
    _records="$_records $!"
}

# Become program "$@", in a session of its own, with the environment that the container was given and the plan's.
# This shell would keep what it sets itself, and drop names that are none to it (spring.profiles.active): /proc has
# the environment as it came.
_become() {
    while IFS= read -r -d '' _entry; do
        case $_entry in [!=]*=*) _name=${_entry%%=*} ;; *) continue ;; esac
        case $_name in
        PWD | OLDPWD | SHLVL | IFS | OPTIND | PS[124] | LINENO | RANDOM | PPID | EPOCH* | FUNCNAME) ;;
        [!A-Za-z_]* | *[!A-Za-z0-9_]*) ;;
        *) continue ;;  # this shell has it, or it is nothing: a variable has a = and a name
        esac
        case $_planned in *" $_name "*) continue ;; esac
        set -- "$_entry" "$@"
        _odd=1
    done <"/proc/$$/environ"
    [ -z "$_odd" ] || set -- "$_plan/busybox" env -- "$@"
    unset PWD OLDPWD SHLVL
    set -- $_bb setsid "$@"
    . "$_plan/env"
    while [ -n "$_handed" ]; do
        export "${_handed%%"$_newline"*}"
        _handed=${_handed#*"$_newline"}
    done
    exec "$@"
}

# Run a step with stdin from $1, in a session of its own, and take its code. Nothing begins after a signal.
_run() {
    _in=$1
    shift
    if [ -n "$_cause" ]; then
        _note finish 143
        _end 143
    fi
    (
        exec 7>&- 8>&- 9>&-
        [ -z "$_workdir" ] || cd "$_workdir" || exit "$_WORKDIR_UNUSABLE"
        _become "$@"
    ) <"$_in" >"$_stdout" 2>"${_stderr:-$_stdout}" &
    _pid=$!
    [ -z "$_cause" ] || _stop  # the signal came before there was a process to pass it to
    _await "$_pid"
    [ "$_code" != 0 ] || [ -z "$_hooking" ] || _take_handed "$_hooking" || _code=1
    _note finish "$_code"
}

# The last step is over: what it left behind goes, its output is complete.
_finish() {
    _last=$_code
    kill -KILL "-$_pid" 2>/dev/null
    _pid=
    _after "$_DRAIN" KILL "$_records"
    for _recorder in $_records; do _await "$_recorder"; done
    case $_last in
        119 | 12[0-3] | 137 | 255) _end "$_last" "$_OTHER" ;;
        *) _end "$_last" ;;
    esac
}

# In _with_signals: what has a hook heed INT and QUIT, where the image's coreutils can (8.31 or newer).
_find_signals() {
    _with_signals=
    [ -f /usr/bin/env ] || return 0
    $_bb head -c 262144 /usr/bin/env | $_bb grep -q default-signal || return 0
    _with_signals='/usr/bin/env --default-signal=INT,QUIT'
}

_hook() {
    [ -n "${_with_signals+found}" ] || _find_signals
    [ -n "$_timer" ] || [ -z "$_hooks_timeout" ] || { _after "$_hooks_timeout" USR2 $$; _timer=$!; }
    _pipes "$1.$2" "$_HOOK_SEGMENT"
    _note begin "$1" "$2"
    _hooking=$1.$2
    _run /dev/null $_with_signals /bin/sh -c "$3"
    _hooking=
    [ "$_code" = 0 ] || _finish
    _pid=
}

# --- what hooks hand on

# Take the lines of file $1, each of which $2 has to accept with $3. Opened for writing as well, so that a pipe in its
# place holds nothing up; what is not there, or no file, has no lines.
_each_line() {
    [ -f "$1" ] && [ ! -L "$1" ] && command exec 6<>"$1" || return 0
    _length=0 _number=0
    while IFS= read -r -t 1 _line <&6 || [ -n "$_line" ]; do
        _number=$((_number + 1))
        _length=$((_length + ${#_line} + 1))
        [ "$_length" -le "$_HANDED_MOST" ] || { _why="hooks hand on more than $_HANDED_MOST bytes"; break; }
        [ -z "$_line" ] || "$2" "$3" || break
    done
    exec 6<&-
    [ -z "$_why" ]
}

# What is wrong is said by the line's number: its value may be a secret.
_take_variable() {
    _name=${_line%%=*}
    case $_line in
    [A-Za-z_]*=*) case $_name in *[!A-Za-z0-9_]*) _why='has a name that no variable can have' ;; esac ;;
    *) _why="is not 'NAME=value'" ;;
    esac
    [ -n "$_why" ] || _may_be_set "$_name" || _why="sets $_name, which $_why_not"
    if [ -z "$_why" ]; then
        _new="$_new$_line$_newline"
        return 0
    fi
    _why="line $_number of \$STROMBOLI_ENV $_why"
    [ -n "$1" ] && _why=
}

_take_folder() {
    case $_line in
    *:*) _why='is not one folder; write each on a line of its own' ;;
    /*) _new="$_line:$_new"; return 0 ;;
    *) _why='is not an absolute path' ;;
    esac
    _why="line $_number of \$STROMBOLI_PATH $_why"
    [ -n "$1" ] && _why=
}

# What files $1.env and $1.path hand on, for the steps to come: in _handed, and on PATH behind the CLI. Where $2 is
# set, lines that the rules forbid are passed over: an agent may have written them.
_hand_on() {
    _why='' _new=''
    _each_line "$1.env" _take_variable "$2" || return 1
    _handed=$_new _new=''
    _each_line "$1.path" _take_folder "$2" || return 1
    _folders=$_new
    PATH=${_cli:+${_cli%/*}:}$_folders$_own_path
}

# After hook $1: what it has handed on, or why not.
_take_handed() {
    _hand_on "$_session/handed/now" '' && return
    printf 'stromboli: %s\n' "$_why" >>"$_out/$1"
    return 1
}

# Before the first hook: what the hooks of the session's beginning have handed on, if there is any, and nothing else.
_prepare_handed() {
    _handed='' _folders=''
    [ -z "$_recalls" ] || _hand_on "$_session/handed/beginning" lenient
    if [ -e "$_session/handed" ] || [ -L "$_session/handed" ]; then
        $_bb mv "$_session/handed" "$_session/.replaced.$EPOCHREALTIME" || return 0
    fi
    [ -n "$_hands_on" ] || return 0
    $_bb mkdir "$_session/handed" || return 0
    _write_handed now
    [ -z "$_recalls" ] || _write_handed beginning
    export STROMBOLI_ENV="$_session/handed/now.env" STROMBOLI_PATH="$_session/handed/now.path"
}

_write_handed() {
    printf %s "$_handed" >"$_session/handed/$1.env"
    _rest=$_folders _lines=
    while [ -n "$_rest" ]; do
        _lines="${_rest%%:*}$_newline$_lines"
        _rest=${_rest#*:}
    done
    printf %s "$_lines" >"$_session/handed/$1.path"
}

# The hooks of the session's beginning are over: what they have handed on is there for its later runs.
_remember_handed() {
    _write_handed beginning
}

# In _talk: how the CLI is to begin conversation $1, or go on with it if it lies on the volume, or with a fork of $2.
_conversation() {
    _talk="--session-id $1"
    for _file in "$_claude"/projects/*/"$2.jsonl"; do
        if [ -n "$2" ] && [ -f "$_file" ]; then _talk="--resume $2 --fork-session --session-id $1"; fi
    done
    for _file in "$_claude"/projects/*/"$1.jsonl"; do
        if [ -f "$_file" ]; then _talk="--resume $1"; fi
    done
}

# Forget the variables $@; those whose name is none to this shell are left out by _become.
_withhold() {
    _planned="$_planned$* "
    for _name; do
        case $_name in *[!A-Za-z0-9_]*) ;; *) unset "$_name" ;; esac
    done
}

_agent() {
    trap _signalled=1 USR2  # not ignored: that the CLI would inherit
    [ -z "$_timer" ] || kill "$_timer"
    _withhold $_withheld
    unset STROMBOLI_ENV STROMBOLI_PATH
    _pipes stdout "$_STDOUT_SEGMENT" stderr "$_STDERR_SEGMENT"
    _break /proc/self/fd/7 "$_unsent" || _end "$_OUT_UNUSABLE"
    _note begin agent 0
    _run "$_plan/prompt" "$@"
    _finish
}

# --- what the steps find

_prepare_home() {
    export CLAUDE_CONFIG_DIR="$_claude"
    _own_path=${PATH:-/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin}
    export PATH="${_cli:+${_cli%/*}:}$_own_path"
    if [ -z "$HOME" ] || [ ! -d "$HOME" ] || [ ! -w "$HOME" ]; then
        export HOME="$_session/home"
        [ -d "$HOME" ] || $_bb mkdir -p "$HOME"
    fi
}

_prepare_workdir() {
    [ -n "$_workdir" ] || return
    if [ ! -d "$_workdir" ]; then
        _why=$($_bb mkdir -p "$_workdir" 2>&1) || _fail "$_WORKDIR_UNUSABLE" "no working directory: $_why"
    fi
    cd "$_workdir" || _fail "$_WORKDIR_UNUSABLE" "the working directory $_workdir may not be entered"
}

# What a run has left in the CLI's folder is an agent's. Conversations and memory go on; all else (settings, hooks, MCP
# servers, credentials, plugins) begins as the image has it, in plan/claude.tar. The old folder is moved aside whole, so
# that nothing in it, however deep or closed, can hold this up, and is removed meanwhile.
_KEPT_FOLDERS='projects todos tasks plans file-history agent-memory' _KEPT_FILES='CLAUDE.md history.jsonl'

_prepare_configuration() {
    _old=$_session/.replaced.$EPOCHREALTIME
    [ -w "$_session" ] || $_bb chmod u+rwx "$_session"
    if [ -e "$_claude" ] || [ -L "$_claude" ]; then
        $_bb mv "$_claude" "$_old" || _fail "$_OUT_UNUSABLE" 'the folder of the configuration cannot be replaced'
    fi
    $_bb mkdir "$_claude" || _fail "$_OUT_UNUSABLE" 'the folder of the configuration cannot be made'
    if [ -f "$_plan/claude.tar" ]; then
        $_bb tar -x -f "$_plan/claude.tar" -C "$_claude" \
            || _fail "$_OUT_UNUSABLE" "the image's configuration of the CLI cannot be laid down"
    fi
    if [ -d "$_old" ] && [ ! -L "$_old" ]; then _keep; fi
    set -- "$_session"/.replaced.*
    [ -e "$1" ] || [ -L "$1" ] || return 0
    $_bb rm -rf "$@" </dev/null >/dev/null 2>&1 7>&- 8>&- 9>&- &
}

# What of the folder in _old goes on; in the place of what the image has.
_keep() {
    [ -w "$_old" ] || $_bb chmod u+rwx "$_old"
    for _name in $_KEPT_FOLDERS; do
        [ -d "$_old/$_name" ] && [ ! -L "$_old/$_name" ] || continue
        [ -w "$_old/$_name" ] || $_bb chmod u+rwx "$_old/$_name"
        $_bb mv "$_old/$_name" "$_claude/$_name"
    done
    for _name in $_KEPT_FILES; do
        [ -f "$_old/$_name" ] && [ ! -L "$_old/$_name" ] || continue
        $_bb mv -f "$_old/$_name" "$_claude/$_name"
    done
}

# The credentials themselves stay on tmpfs; a file by their name is what the CLI made of the link.
_forget_credentials() {
    [ -e "$_claude/.credentials.json" ] || [ -L "$_claude/.credentials.json" ] || return 0
    $_bb rm -f "$_claude/.credentials.json"
}

_prepare_credentials() {
    [ -n "$_credentials" ] || return 0
    $_bb ln -s "$_secrets/.credentials.json" "$_claude/.credentials.json"
}

# Whether $_cli is of the CLI that was mounted: a volume whose target goes through a link may lie over it, or over a
# folder around it. Mounts are listed in the order in which they were made.
_is_mounted_cli() {
    case $_cli in "$_cli_mount"/*) ;; *) return 0 ;; esac
    _place=$($_bb readlink -f "$_cli_mount") _last='' _times=0
    while read -r _ _ _ _ _point _; do
        case $_point in
            "$_place") _last=$_point _times=$((_times + 1)) ;;
            "$_place"/*) return 1 ;;
            *) case $_place in "${_point%/}"/*) _last=$_point ;; esac ;;
        esac
    done </proc/self/mountinfo
    [ "$_last" = "$_place" ] && [ "$_times" = 1 ]
}

. "$_plan/steps"
trap '_interrupt cancelled' TERM
trap '_interrupt timeout' USR1
trap '_interrupt hooks-timeout' USR2
if PATH=/nowhere command -v mkdir >/dev/null; then _bb=; fi  # this ash runs applets by itself

[ -z "$_cli" ] || { [ -x "$_cli" ] && _is_mounted_cli; } || exit "$_CLI_MISSING"
{ IFS= read -r _unstarted && IFS= read -r _unsent; } <"$_plan/seals" || exit "$_ALREADY_STARTED"
_refuse_if_started
_take_secrets
$_bb mkdir "$_out/started" || { _refuse_if_started; exit "$_OUT_UNUSABLE"; }
_break "$_out" "$_unstarted" || exit "$_OUT_UNUSABLE"
# By descriptors: a hook could put something else in the place of a name.
command exec 7<"$_out/seal" && $_bb mkfifo "$_out/.clock" \
    && command exec 8>>"$_out/record" 9<>"$_out/.clock" || exit "$_OUT_UNUSABLE"
_note start
_after "$_timeout" USR1 $$
_prepare_home
_prepare_workdir
_prepare_handed
_prepare_configuration
_prepare_credentials
_steps
