#!/usr/bin/env bash
# A source file has at most 400 lines, not counting tests: neither the module at its end nor tests.rs, *.test.* and a crate's tests folder.
set -euo pipefail
limit=400
status=0
while IFS= read -r file; do
  [ -f "$file" ] || continue
  lines=$(awk '/^#\[cfg\(test\)\]/ { exit } { n++ } END { print n + 0 }' "$file")
  if [ "$lines" -gt "$limit" ]; then
    printf '%s: %s lines without tests, %s are allowed: split it by idea\n' "$file" "$lines" "$limit" >&2
    status=1
  fi
done < <(git ls-files --cached --others --exclude-standard -- '*.rs' '*.ts' '*.mjs' '*.js' '*.py' '*.sh' ':!*.test.*' ':!*tests.rs' ':!crates/*/tests/*' ':!server/tests/*' | sort -u)
exit "$status"
