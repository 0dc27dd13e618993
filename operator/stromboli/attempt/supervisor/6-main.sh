# --- main

. "$_plan/steps"
trap '_interrupt cancelled' TERM
trap '_interrupt timeout' USR1
trap '_interrupt no-progress' HUP
trap '_interrupt hooks-timeout' USR2
if PATH=/nowhere command -v mkdir >/dev/null; then _bb=; fi  # this ash runs applets by itself

[ -z "$_cli" ] || { [ -x "$_cli" ] && _is_mounted_cli; } || exit "$_CLI_MISSING"
{ IFS= read -r _unstarted && IFS= read -r _unsent; } <"$_plan/seals" || exit "$_ALREADY_STARTED"
_refuse_if_started
_take_secrets
$_bb mkdir "$_out/started" || { _refuse_if_started; exit "$_OUT_UNUSABLE"; }
_break "$_out" "$_unstarted" || exit "$_OUT_UNUSABLE"
# Keep descriptors open: a hook could replace the file at a path.
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
