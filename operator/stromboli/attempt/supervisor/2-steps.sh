# --- time and signals

# After $1 seconds, send signal $2 to the processes $3. The pipe on fd 9 never has data, so `read -t` is a sleep that
# needs no process.
_after() {
    (
        read -r -t "$1" -u 9 _
        kill "-$2" $3
    ) 2>/dev/null &
}

# Send TERM to the step's process group, and KILL after the grace period. Until the step has its own group, its process
# is still a copy of this shell, which could lose the signal: so retry until the group exists.
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
    [ "$1" != cancelled ] || _DRAIN=0.1  # whoever cancels wants an end more than the last output
    [ -z "$_pid" ] || _stop
}

# Wait for child $1, whatever signals arrive; sets _code to its exit code. Orphans are reaped meanwhile.
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

# Called by plan/steps for each secret: read it into a variable, from which plan/env sets the real one.
_secret() {
    IFS= read -r -d '' -u 6 "_secret_$1" || exit "$_SECRET_MISSING"
}

# Called by plan/steps for each secret file. It may have any bytes in it, so its size comes before it.
_secret_file() {
    IFS= read -r -d '' -u 6 _size || exit "$_SECRET_MISSING"
    (
        umask 0377
        $_bb dd bs=64k iflag=count_bytes count="$_size" <&6 >"$_files/$1" 2>/dev/null
    ) || exit "$_SECRET_MISSING"
}

_take_secrets() {
    [ -r "$_given" ] && command exec 6<"$_given" || exit "$_SECRET_MISSING"
    _read_secrets
    [ -z "$_credentials" ] || (
        umask 077
        $_bb mkdir -p "$_secrets" && $_bb cat <&6 >"$_secrets/.credentials.json"
    ) || exit "$_SECRET_MISSING"
    exec 6<&-
}

# Create pipes and recorders for the next step: its stdout goes to out/$1, and its stderr to out/$3 if that is given.
# Each step has its own pipes, since a leftover process of an earlier step may still hold that step's pipes open.
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

# Exec program "$@" in its own session, with the container's original environment and the plan's. This shell would
# keep the variables that it sets itself, and drop names that it considers invalid (spring.profiles.active); /proc has
# the original environment.
_become() {
    while IFS= read -r -d '' _entry; do
        case $_entry in [!=]*=*) _name=${_entry%%=*} ;; *) continue ;; esac
        case $_name in
        PWD | OLDPWD | SHLVL | IFS | OPTIND | PS[124] | LINENO | RANDOM | PPID | EPOCH* | FUNCNAME) ;;
        [!A-Za-z_]* | *[!A-Za-z0-9_]*) ;;
        *) continue ;;  # this shell has it, or it is no variable: those have a name and a =
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

# Run a step with stdin from $1 in its own session, and set _code to its exit code. After a signal, nothing is started.
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

# After the last step: kill its leftover processes, wait until its output is complete, and end.
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

# Sets _with_signals to the command prefix that resets INT and QUIT for a hook, if the image's coreutils has it (8.31
# or newer).
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

# Unset the variables $@; those with a name that is invalid in this shell are left out by _become.
_withhold() {
    _planned="$_planned$* "
    for _name; do
        case $_name in *[!A-Za-z0-9_]*) ;; *) unset "$_name" ;; esac
    done
}

_agent() {
    trap _signalled=1 USR2  # not ignored: the CLI would inherit that
    [ -z "$_timer" ] || kill "$_timer"
    _withhold $_withheld
    unset STROMBOLI_ENV STROMBOLI_PATH
    _pipes stdout "$_STDOUT_SEGMENT" stderr "$_STDERR_SEGMENT"
    _break /proc/self/fd/7 "$_unsent" || _end "$_OUT_UNUSABLE"
    _note begin agent 0
    _note input "$_input"
    _run "$_plan/$_input" "$@"
    _finish
}
