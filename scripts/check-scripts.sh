#!/usr/bin/env bash
# Every script in the tree can at least be read: bash, and JavaScript outside the page (which has its own checks).
set -euo pipefail
while IFS= read -r file; do
  [ -f "$file" ] || continue
  case "$file" in
    *.mjs) node --check "$file" ;;
    *) bash -n "$file" ;;
  esac
done < <(git ls-files --cached --others --exclude-standard -- '*.mjs' '*.sh' .ci/run | sort -u)
