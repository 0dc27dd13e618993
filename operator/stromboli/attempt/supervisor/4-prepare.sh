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
# (settings, hooks, MCP servers, credentials, plugins) is reset to the image's, in plan/claude.tar. The old folder is
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

# The credentials themselves stay on tmpfs; a regular file of that name is one that the CLI replaced the link with.
_forget_credentials() {
    [ -e "$_claude/.credentials.json" ] || [ -L "$_claude/.credentials.json" ] || return 0
    $_bb rm -f "$_claude/.credentials.json"
}

_prepare_credentials() {
    [ -n "$_credentials" ] || return 0
    $_bb ln -s "$_secrets/.credentials.json" "$_claude/.credentials.json"
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
