#!/bin/sh
# registered.sh UNIT SECONDS: says whether the server's selector has heard of the client, as it runs now, that recently.
set -eu
start=$(systemctl show --property=InvocationID --value "$1")
said() {
    journalctl --quiet --no-pager --output=cat --since="-$1s" "_SYSTEMD_INVOCATION_ID=$start"
}
said "$2" | grep -qE 'Register client success|Report client to server success' || {
    echo "the server's selector didn't take it: $(said "$2" | grep -iE 'fail|error|refused' | tail -n 2)"
    exit 1
}
