#!/usr/bin/env bash
# step.sh NAME COMMAND...: runs one part of a make target, says that it runs, how it ended and how long it took.
set -euo pipefail
name=$1
shift
printf '\n== %s\n' "$name"
start=$SECONDS
status=0
"$@" </dev/null || status=$?
if [ "$status" -ne 0 ]; then
  printf '== %s: FAILED (exit %s) after %s s\n' "$name" "$status" "$((SECONDS - start))" >&2
  exit "$status"
fi
printf '== %s: ok, %s s\n' "$name" "$((SECONDS - start))"
