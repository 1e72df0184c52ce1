#!/usr/bin/env bash
# Runs the test cases whose name contains $T, wherever they are; it is an error if there is none.
set -euo pipefail
found=0

# In Rust, names are listed by the test programs themselves.
scripts/step.sh "build" cargo build --quiet ${LOCKED:-} --workspace --bins --examples
scripts/step.sh "build the tests" cargo test --quiet ${LOCKED:-} --workspace --no-run
if cargo test --quiet ${LOCKED:-} --workspace -- --list "$T" 2>/dev/null | grep -q ': test$'; then
  found=1
  scripts/step.sh "Rust tests: $T" cargo test --quiet ${LOCKED:-} --workspace --no-fail-fast -- "$T"
fi

# In JavaScript, names are texts in the test files.
if git grep -qF --untracked -e "$T" -- 'server/web/tests/*.test.*'; then
  found=1
  (
    cd server/web
    node build.mjs --tests
    ../../scripts/step.sh "page tests: $T" node --test --test-name-pattern="$T" build/tests/
  )
fi
mapfile -t files < <(cd tests/compat && git grep -lF --untracked -e "$T" -- '*.test.*')
if [ "${#files[@]}" -gt 0 ]; then
  found=1
  (cd tests/compat && ../../scripts/step.sh "compatibility tests: $T" node --test --test-name-pattern="$T" "${files[@]}")
fi

# In Python, names are those of functions.
if git grep -hoE --untracked 'def test_\w+' -- 'tests/charts/test_*.py' | grep -F -e "$T" >/dev/null; then
  found=1
  make test-charts K="$T"
fi

if [ "$found" = 0 ]; then
  printf 'no test has a name that contains "%s"\n' "$T" >&2
  exit 1
fi
