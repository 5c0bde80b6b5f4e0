#!/usr/bin/env bash
# A sign-in by SMS code with curl, against `smscode serve`. Needs bash, curl and smscode.
set -euo pipefail
mobile=13800138000
place=$(mktemp -d)
smscode serve --port 0 >"$place/settings" &
trap 'kill $!; wait; rm -r "$place"' EXIT
until grep -qs SMSCODE_TEMP_ID "$place/settings"; do
    kill -0 $! || exit 1
    sleep 0.1
done
source "$place/settings" # exports SMSCODE_BASE_URL, _APP_KEY, _MASTER_SECRET and _TEMP_ID

call() { # METHOD PATH [JSON]
    curl -sS --max-time 10 -X "$1" -u "$SMSCODE_APP_KEY:$SMSCODE_MASTER_SECRET" "$SMSCODE_BASE_URL$2" ${3+-d "$3"}
}
field() { # NAME, of the JSON on stdin
    sed -nE "s/.*\"$1\": ?\"?([^\",}]+).*/\1/p"
}
send() {
    call POST /v1/codes "{\"mobile\": \"$mobile\", \"temp_id\": $SMSCODE_TEMP_ID}"
}
verify() { # MSG_ID CODE
    call POST "/v1/codes/$1/valid" "{\"code\": \"$2\"}"
}
begin() { # TITLE
    echo "$1"
    call DELETE /sandbox/state >/dev/null
}
expect() { # TEXT RESPONSE
    [[ $2 == *"$1"* ]] || { echo "expected $1, got: $2" >&2; exit 1; }
}

begin "right and wrong code"
msg_id=$(send | field msg_id)
code=$(call GET "/sandbox/messages?mobile=$mobile&wait_s=5" | field code)
expect 50010 "$(verify "$msg_id" "x$code")"
expect '"is_valid":true' "$(verify "$msg_id" "$code")"

begin "expired code"
msg_id=$(send | field msg_id)
call POST /sandbox/clock '{"advance_s": 301}' >/dev/null
expect 50011 "$(verify "$msg_id" 123456)"

begin "out of frequency"
expect msg_id "$(send)"
expect 50009 "$(send)"

begin "no money"
call PUT "/sandbox/numbers/$mobile" '{"send": 50014, "times": 1}' >/dev/null
expect 50014 "$(send)"

begin "provider down"
call PUT /sandbox/faults '{"error_share": 1}' >/dev/null
expect 50019 "$(send)"
