#!/bin/sh
# Anonymise one photograph on a VerA server by curl alone (docs/protocol.md); writes anon.png.
#   sh anonymize.sh http://localhost:8000 mouth before.jpg
# For a server on this machine; to any other one use https://.
set -eu
# Fixed here, so that the same request may be sent again.
seed=$(od -An -N7 -tu8 /dev/urandom | tr -d ' ')
options='{\"protocol\": 1, \"task\": \"anonymize\", \"base64\": true, \"progress\": false,
  \"seed\": '$seed', \"deadline_s\": 300,
  \"photos\": [{\"keep\": \"'$2'\"}]}'
options=$(printf '%s' "$options" | tr -d '\n')
events=$(
  printf '{"OPTIONS": "%s", "PHOTOS": ["%s"]}' "$options" "$(base64 < "$3" | tr -d '\n')" |
    curl --silent --show-error --no-buffer --max-time 330 --data-binary @- \
      "$1/v2/models/anonymize/generate_stream"
)
# Without the last event the server broke off, and nothing of the case may be used.
case $events in
  *'\"event\": \"done\"'*) ;;
  *) printf '%s\n' "$events" | cut -c 1-500 >&2; exit 1 ;;
esac
image=$(printf '%s\n' "$events" | sed -n 's/.*"IMAGE": *"\([^"]*\)".*/\1/p')
if [ -z "$image" ]; then
  printf '%s\n' "$events" >&2 # refused; the report says why
  exit 3
fi
printf '%s' "$image" | base64 -d > anon.png
