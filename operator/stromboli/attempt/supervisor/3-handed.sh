# --- what hooks pass on to later steps

# Call $2 with $3 for each line of file $1, until it fails. The file is opened for writing too, so that a pipe in its
# place does not block; a missing file, or one that is not regular, has no lines.
_each_line() {
    [ -f "$1" ] && [ ! -L "$1" ] && command exec 6<>"$1" || return 0
    _length=0 _number=0
    while IFS= read -r -t 1 _line <&6 || [ -n "$_line" ]; do
        _number=$((_number + 1))
        _length=$((_length + ${#_line} + 1))
        [ "$_length" -le "$_HANDED_MOST" ] || { _why="hooks pass on more than $_HANDED_MOST bytes"; break; }
        [ -z "$_line" ] || "$2" "$3" || break
    done
    exec 6<&-
    [ -z "$_why" ]
}

# Errors give the line's number, not its text: the value may be a secret.
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

# Read the files $1.env and $1.path for later steps: into _handed, and into PATH behind the CLI. If $2 is set, forbidden
# lines are skipped instead of refused: an agent may have written them.
_hand_on() {
    _why='' _new=''
    _each_line "$1.env" _take_variable "$2" || return 1
    _handed=$_new _new=''
    _each_line "$1.path" _take_folder "$2" || return 1
    _folders=$_new
    PATH=${_cli:+${_cli%/*}:}$_folders$_own_path
}

# After hook $1: read what it passes on, or append the error to its output.
_take_handed() {
    _hand_on "$_session/handed/now" '' && return
    printf 'stromboli: %s\n' "$_why" >>"$_out/$1"
    return 1
}

# Before the first hook: load what the session's initial hooks passed on, if anything, and discard everything else.
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

# After the session's initial hooks: save what they passed on for the session's later runs.
_remember_handed() {
    _write_handed beginning
}
