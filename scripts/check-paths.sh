#!/usr/bin/env bash
# Nothing in the tree names a developer's machine or a package registry's host: builds must work behind any mirror.
set -euo pipefail
machine='(^|[^a-zA-Z0-9_.])/(work|farm|home/[a-z]+|Users/[A-Za-z]+)/'
hosts='proxy[.]golang[.]org|registry[.]npmjs[.]org|static[.]crates[.]io|pypi[.]org|deb[.]debian[.]org'
if git grep -nIE --untracked "$machine|$hosts" -- . ':!scripts/check-paths.sh'; then
  printf 'the lines above name a path of one machine or the host of a registry\n' >&2
  exit 1
fi
