#!/usr/bin/env bash
# Stop what start_slurm.sh FOLDER started, and remove its files from /etc/slurm.
set -uo pipefail
base=${1:?usage: stop_slurm.sh FOLDER}
mark="# Made by tests/cluster/start_slurm.sh; removed by stop_slurm.sh"

stop() {
  local pid
  pid=$(cat "$1" 2>/dev/null) || return 0
  kill "$pid" 2>/dev/null || return 0
  for _ in $(seq 50); do
    kill -0 "$pid" 2>/dev/null || return 0
    sleep 0.1
  done
  kill -KILL "$pid" 2>/dev/null
}

[ ! -e "$base/slurmctld.pid" ] || scancel --quiet --user="$(id -un)" 2>/dev/null
stop "$base/slurmd.pid"
stop "$base/slurmctld.pid"
[ ! -e "$base/munged-is-ours" ] || stop /run/munge/munged.pid
# Not those of another run of this test, nor anybody else's.
if grep -qxF "StateSaveLocation=$base/state" /etc/slurm/slurm.conf 2>/dev/null; then
  for file in slurm.conf gres.conf; do
    [ "$(head -n 1 "/etc/slurm/$file" 2>/dev/null)" != "$mark" ] || rm -f "/etc/slurm/$file"
  done
fi
exit 0
