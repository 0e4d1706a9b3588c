#!/usr/bin/env bash
# One-node Slurm on the loopback with a made-up GPU, for tests: slurm.sh start|stop FOLDER, as root.
# No accounting, no systemd, no cgroups. Exit 0: it takes jobs; 77: it cannot be had here, and the
# last line on stderr says why; anything else: it is here and does not start.
set -euo pipefail
base=${2:?usage: slurm.sh start|stop FOLDER}
mark="# Made by tests/cluster/slurm.sh start; removed by slurm.sh stop"
export PATH="$PATH:/usr/sbin"

end() {
  local status=$1
  shift
  echo "$*" >&2
  exit "$status"
}

stop() {
  local pid
  pid=$(cat "$1" 2>/dev/null) && kill "$pid" 2>/dev/null || return 0
  timeout 5 tail --pid="$pid" -s 0.1 -f /dev/null || kill -KILL "$pid" 2>/dev/null || true
}

if [ "$1" = stop ]; then
  [ ! -e "$base/slurmctld.pid" ] || scancel --quiet --user="$(id -un)" 2>/dev/null || true
  stop "$base/slurmd.pid"
  stop "$base/slurmctld.pid"
  # Not those of another run of this test, nor anybody else's.
  if grep -qxF "StateSaveLocation=$base/state" /etc/slurm/slurm.conf 2>/dev/null; then
    rm -f /etc/slurm/slurm.conf /etc/slurm/gres.conf
  fi
  exit 0
fi

for program in slurmctld slurmd sbatch; do
  command -v "$program" >/dev/null || end 77 "$program: as root on Debian," \
    "apt-get install -y --no-install-recommends slurmctld slurmd slurm-client"
done
[ "$(id -u)" = 0 ] || end 77 "not root: the Slurm daemons of this test need it"
# Slurm's programs in a job look here and nowhere else: the executor drops SLURM_CONF.
for file in /etc/slurm/{slurm,gres,cgroup}.conf; do
  [ ! -e "$file" ] || grep -qxF "$mark" "$file" ||
    end 77 "$file is not this test's: it is left alone, and the test not run"
done
for daemon in slurmctld slurmd; do
  ! pgrep -x "$daemon" >/dev/null || end 77 "another $daemon is running here"
done

host=$(hostname -s)
install -d "$base/state" "$base/spool" "$base/log" /etc/slurm
cat >/etc/slurm/slurm.conf <<CONF
$mark
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/none
CredType=cred/none
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
ReturnToService=2
# squeue and scontrol tell of a job for so long after its end (seconds).
MinJobAge=600
SchedulerParameters=sched_min_interval=100000
StateSaveLocation=$base/state
SlurmdSpoolDir=$base/spool
SlurmctldPidFile=$base/slurmctld.pid
SlurmdPidFile=$base/slurmd.pid
SlurmctldLogFile=$base/log/slurmctld.log
SlurmdLogFile=$base/log/slurmd.log
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
MailProg=/bin/true
# The node claims more than the machine has, so that the jobs of a real cluster fit.
SlurmdParameters=config_overrides
NodeName=$host NodeAddr=127.0.0.1 CPUs=16 RealMemory=64000 Gres=gpu:1 State=UNKNOWN
PartitionName=main Nodes=$host State=UP
CONF
# A device file is all that Slurm asks of a GPU; jobs get CUDA_VISIBLE_DEVICES=0.
printf '%s\nName=gpu File=/dev/null\n' "$mark" >/etc/slurm/gres.conf

slurmctld
slurmd
for _ in $(seq 60); do
  if sinfo -h -o %T 2>/dev/null | grep -qx idle; then exit 0; fi
  sleep 0.5
done
tail -n 20 "$base"/log/*.log >&2
end 1 "the node did not become idle within 30 s; the end of its logs is above"
