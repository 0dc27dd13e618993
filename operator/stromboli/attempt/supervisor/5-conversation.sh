# --- the conversation, and whether it has this run's prompt already

# What is beside the CLI's folder: the run, and the size of its conversation before its prompt was sent.
_asked=$_session/asked
_SMALL=16777216  # bytes; larger records of a conversation have messages, whatever else they have

# Sets _talk to the CLI's options: resume conversation $1 if it is on the volume, else fork it from $2 if that is
# there, else start it. Sets _input to the file of plan/ that the CLI gets.
_conversation() {
    _own='' _parent=''
    for _file in "$_claude"/projects/*/"$1.jsonl"; do
        [ -f "$_file" ] || continue
        if _has_messages "$_file"; then _own=$_file; else _discard "$_file"; fi
    done
    for _file in "$_claude"/projects/*/"$2.jsonl"; do
        if [ -n "$2" ] && [ -f "$_file" ] && _has_messages "$_file"; then _parent=$_file; fi
    done
    _choose_input
    if [ -n "$_own" ]; then
        _talk="--resume $1"
    elif [ -n "$_parent" ]; then
        _talk="--resume $2 --fork-session --session-id $1"
    else
        _talk="--session-id $1"
    fi
}

# The CLI records notes of its own before the prompt. If it was killed in between, it can neither resume that
# conversation nor start it (seen: 2.1.332). The last line may be incomplete.
_has_messages() {
    [ "$($_bb stat -L -c %s "$1")" -gt "$_SMALL" ] || $_bb grep -q '"message":.*}$' "$1"
}

_discard() {
    $_bb mv "$1" "$_session/.replaced.$EPOCHREALTIME"
}

# The prompt, unless an earlier attempt of this run has brought it into the conversation.
_choose_input() {
    if [ -n "$_continues" ] && _recall_size; then
        if _has_prompt; then
            _input=continue
        elif [ -n "$_own" ] && _is_copied; then
            _discard "$_own"  # perhaps not all of the copy
            _own=
        fi
        return
    fi
    _size=0
    [ -z "$_own" ] || _size=$($_bb stat -L -c %s "$_own")
    if [ -L "$_asked" ] || { [ -e "$_asked" ] && [ ! -f "$_asked" ]; }; then _discard "$_asked"; fi
    printf '%s\n' "$_run_uid $_size" >"$_asked"
}

# Sets _size to what an earlier attempt of this run noted; fails if there is no such note.
_recall_size() {
    [ -f "$_asked" ] && [ ! -L "$_asked" ] && command exec 6<>"$_asked" || return 1
    IFS=' ' read -r -t 1 _noted _size <&6
    exec 6<&-
    [ "$_noted" = "$_run_uid" ] || return 1
    case $_size in '' | *[!0-9]* | ????????????????*) return 1 ;; esac
}

# A fork's conversation begins with a copy of the other one, with the same identifiers.
_is_copied() {
    [ "$_size" = 0 ] && [ -n "$_parent" ]
}

# Whether the user or a tool has said anything in the conversation since. What else the CLI records, it does without a
# prompt too.
_has_prompt() {
    [ -n "$_own" ] || return 1
    _said=$($_bb tail -c "+$((_size + 1))" "$_own" | $_bb grep '"type":"user".*}$' \
        | $_bb grep -o '"uuid":"[0-9a-f-]*"' | $_bb tail -n 1)
    [ -n "$_said" ] || return 1
    ! _is_copied || ! $_bb grep -q -F -e "$_said" "$_parent"
}
