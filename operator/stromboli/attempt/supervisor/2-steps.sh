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
