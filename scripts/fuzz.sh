#!/usr/bin/env bash
# fuzz.sh SECONDS: feeds each codec generated input for that long. The targets are the codecs' own property tests, run over and over
# with fresh random input; proptest writes an input that fails to a file beside the test, where it is run first from then on.
set -euo pipefail
seconds=$1
# package : filter of the test names
codecs=(
  chatcluster-engineio:payload::tests
  chatcluster-engineio:websocket::decoder::tests
  chatcluster-socketio:packet::tests
  chatcluster-socketio:arguments::tests
  chatcluster-socketio:offset::tests
)
# Few enough that a round ends soon, many enough that starting it costs little.
export PROPTEST_CASES=${PROPTEST_CASES:-5000}
output=$(mktemp)
trap 'rm -f "$output"' EXIT

for codec in "${codecs[@]}"; do
  package=${codec%%:*}
  filter=${codec#*:}
  rounds=0
  end=$((SECONDS + seconds))
  while [ "$rounds" = 0 ] || [ "$SECONDS" -lt "$end" ]; do
    if ! cargo test --quiet ${LOCKED:-} -p "$package" --lib -- "$filter" >"$output" 2>&1; then
      cat "$output"
      printf '%s %s: FAILED in round %s\n' "$package" "$filter" "$((rounds + 1))"
      exit 1
    fi
    if ! grep -qE 'result: ok\. [1-9][0-9]* passed' "$output"; then
      printf '%s has no test %s: mend the list in scripts/fuzz.sh\n' "$package" "$filter"
      exit 1
    fi
    rounds=$((rounds + 1))
  done
  printf '%s %s: %s rounds of %s cases for each property, no failure\n' "$package" "$filter" "$rounds" "$PROPTEST_CASES"
done
