# Processes of the cluster: each in a process group of its own, named by a pid file, in a cgroup that `down` can find.

# Puts this shell into cgroup kt/NAME of every v1 hierarchy. A new cpuset is empty until it is told its CPUs and memory.
enter_cgroup() {
  local hierarchy group file
  for hierarchy in "$CGROUPS"/*/; do
    [ -e "$hierarchy/cgroup.procs" ] && [ ! -e "$hierarchy/cgroup.controllers" ] || continue
    for group in "$hierarchy/kt" "$hierarchy/kt/$1"; do
      mkdir -p "$group"
      [ -e "$group/cpuset.cpus" ] || continue
      for file in cpus mems; do
        cat "$group/../cpuset.$file" >"$group/cpuset.$file"
      done
    done
    echo "$BASHPID" >"$hierarchy/kt/$1/cgroup.procs"
  done
}

remove_cgroups() {
  local group
  for group in "$CGROUPS"/*/"$1"; do
    [ ! -d "$group" ] || find "$group" -depth -type d -exec rmdir {} +
  done
}

# start_process NAME COMMAND...: a process of the control plane, with a pid file and a log.
start_process() {
  local name=$1
  shift
  (
    enter_cgroup cp
    exec setsid "$@" >"$RUN/log/$name.log" 2>&1 </dev/null
  ) &
  echo $! >"$RUN/$name.pid"
}

# What a service manager does with Restart=always.
keep_running() {
  while :; do
    "$@" </dev/null || :
    sleep 1
  done
}

# Gone, or a zombie: pid 1 of a container may be slow to reap, and waits for nobody's sake.
is_dead() { [ ! -d "/proc/$1" ] || grep -qs '^State:.Z' "/proc/$1/status"; }

# A pid file may outlive its process, and the number may be somebody else's by now.
is_ours() { grep -qsE "$BIN/|cluster\.sh" "/proc/$1/cmdline"; }

# Ends the named processes at once, with their groups, and waits until they are gone.
kill_processes() {
  local name pid child all=()
  for name; do
    [ -s "$RUN/$name.pid" ] || continue
    pid=$(cat "$RUN/$name.pid")
    rm -f "$RUN/$name.pid"
    is_ours "$pid" || continue
    all+=("$pid")
    for child in $(pgrep -P "$pid" || :); do all+=("$child"); done
    kill -9 -- "-$pid"
  done
  for pid in "${all[@]}"; do
    until is_dead "$pid"; do sleep 0.05; done
  done
}

# until_ok SECONDS COMMAND...: runs it until it succeeds; what it said last is shown when the time is up.
until_ok() {
  local end=$((SECONDS + $1)) said
  shift
  until said=$("$@" 2>&1); do
    [ "$SECONDS" -lt "$end" ] || die "gave up on: $*"$'\n'"$said"
    sleep 0.2
  done
}
