#!/bin/sh
# The main job, end to end, on the mails and notes of an invented person: import, search, answer.
set -eu
here=$(dirname "$0")
profile=$here/../build/demo/profile.db
rm -rf "$here/../build/demo"
question="When and where do we meet on Saturday?"

say() { printf '\n\033[1m$ %s\033[0m\n' "$*"; "$@"; }

say edgepersona import "$here/marta.jsonl" --profile "$profile"
say edgepersona search "a noise from the bicycle" -k 3 --profile "$profile"
say edgepersona ask "$question" --compare none,rag --temperature 0 --max-new-tokens 60 \
    --profile "$profile"
