# --- home, working directory, configuration, credentials

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
    cd "$_workdir" || _fail "$_WORKDIR_UNUSABLE" "no permission to enter the working directory $_workdir"
}

# An agent wrote what an earlier run left in the CLI's folder. Conversations and memory are kept; everything else
# (settings, hooks, MCP servers, plugins) is reset to the image's, in plan/claude.tar. The old folder is
# moved aside as a whole and removed in the background, so that nothing in it, however deep or locked, delays the start.
_KEPT_FOLDERS='projects todos tasks plans file-history agent-memory' _KEPT_FILES='CLAUDE.md history.jsonl'

_prepare_configuration() {
    _old=$_session/.replaced.$EPOCHREALTIME
    [ -w "$_session" ] || $_bb chmod u+rwx "$_session"
    if [ -e "$_claude" ] || [ -L "$_claude" ]; then
        $_bb mv "$_claude" "$_old" || _fail "$_OUT_UNUSABLE" "the CLI's configuration folder of the last run cannot be replaced"
    fi
    $_bb mkdir "$_claude" || _fail "$_OUT_UNUSABLE" "the CLI's configuration folder cannot be created"
    if [ -f "$_plan/claude.tar" ]; then
        $_bb tar -x -f "$_plan/claude.tar" -C "$_claude" \
            || _fail "$_OUT_UNUSABLE" "the image's configuration of the CLI cannot be copied"
    fi
    if [ -d "$_old" ] && [ ! -L "$_old" ]; then _keep; fi
    set -- "$_session"/.replaced.*
    [ -e "$1" ] || [ -L "$1" ] || return 0
    $_bb rm -rf "$@" </dev/null >/dev/null 2>&1 7>&- 8>&- 9>&- &
}

# Move what is kept from the folder _old, replacing what the image has.
_keep() {
    [ -w "$_old" ] || $_bb chmod u+rwx "$_old"
    _take_renewed
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

# The credentials stay on tmpfs, and the CLI gets a link to them. When it refreshes its token, the one before is dead: so
# what it has written then stays with the session, as a file in place of the link, until the run is given others. It may
# also replace the link by itself. Forks do not get that file (node/copy.py).
_login=$_claude/.credentials.json
_given_before=$_session/.credentials.given  # a hash of those that the file was made of
_renewed='' _watcher=''
_LOOK=2  # seconds between looks whether the CLI has written them, in case that everything is killed

_hash_of_given() {
    $_bb sha256sum <"$_secrets/.credentials.json"
}

# Called for the last run's folder: take its file, if it was made of what this run is given.
_take_renewed() {
    [ -n "$_credentials" ] && [ -f "$_old/.credentials.json" ] && [ ! -L "$_old/.credentials.json" ] || return 0
    [ -f "$_given_before" ] && [ ! -L "$_given_before" ] && command exec 6<>"$_given_before" || return 0
    IFS= read -r -t 1 _hash <&6
    exec 6<&-
    [ "$_hash" = "$(_hash_of_given)" ] && ! _is_emptied "$_old/.credentials.json" || return 0
    $_bb mv "$_old/.credentials.json" "$_login" && _renewed=1
}

# The CLI empties a login that it could not refresh (seen: 2.1.332). With that, the next run could not even say why.
_is_emptied() {
    $_bb head -c 65536 "$1" | $_bb grep -q '"accessToken": *""'
}

_prepare_credentials() {
    [ -n "$_credentials" ] && [ -z "$_renewed" ] || return 0
    if [ -e "$_given_before" ] || [ -L "$_given_before" ]; then
        $_bb mv "$_given_before" "$_session/.replaced.$EPOCHREALTIME" || return 0
    fi
    _hash_of_given >"$_given_before"
    : >"$_secrets/.given"
    $_bb touch -d @946684800 "$_secrets/.given" "$_secrets/.credentials.json"  # what is written from now on is newer
    $_bb ln -s "$_secrets/.credentials.json" "$_login"
    _watch_credentials 2>/dev/null 7>&- 8>&- &
    _watcher=$!
}

_watch_credentials() {
    while [ -L "$_login" ]; do
        read -r -t "$_LOOK" -u 9 _
        _keep_renewed
    done
}

# If the CLI has written through the link, put a copy in its place. It may be just about to write.
_keep_renewed() {
    [ -L "$_login" ] && [ "$_secrets/.credentials.json" -nt "$_secrets/.given" ] || return 0
    case $($_bb tail -c 2 "$_secrets/.credentials.json") in *'}') ;; *) return 0 ;; esac
    _copy=$_session/.replaced.$EPOCHREALTIME
    (umask 077 && $_bb cp "$_secrets/.credentials.json" "$_copy") && $_bb mv -f "$_copy" "$_login"
}

_forget_credentials() {
    [ -z "$_watcher" ] || { kill "$_watcher" 2>/dev/null; _keep_renewed; }
    [ -e "$_login" ] || [ -L "$_login" ] || return 0
    [ -z "$_credentials" ] || [ -L "$_login" ] || return 0
    $_bb rm -f "$_login"
}

# Whether $_cli belongs to the mounted CLI: a volume whose target goes through a symlink may be mounted over it, or over
# a folder above it. Mounts are listed in the order in which they were made.
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
