# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A Slurm of one node in a folder: its daemons run as this user, and nobody is authenticated."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "squeue", "sinfo")
_START_SECONDS = 60.0
_SEARCHED = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"

_SETTINGS = """\
ClusterName=nld
SlurmctldHost={host}
SlurmUser={user}
SlurmdUser={user}
SlurmctldPort={controller}
SlurmdPort={node}
AuthType=auth/none
CredType=cred/none
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,batch_sched_delay=0
ReturnToService=2
MpiDefault=none
SwitchType=switch/none
NodeName={host} CPUs={cores} State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> str | None:
    """Why no Slurm can be started here; None if one can."""
    absent = [name for name in PROGRAMS if shutil.which(name, path=_SEARCHED) is None]
    if absent:
        return f"Slurm is not installed: no {', '.join(absent)} (apt-get install slurm-wlm)"
    return None if os.getuid() == 0 else "slurmd starts jobs as root only"


@contextmanager
def one_node(folder: Path) -> Iterator[Mapping[str, str]]:
    """Start the daemons; yields the variables of a shell in which Slurm's commands find them."""
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    configuration = folder / "slurm.conf"
    host, ports = socket.gethostname().partition(".")[0], _free_ports(2)
    text = _SETTINGS.format(
        host=host, user="root", controller=ports[0], node=ports[1], folder=folder, cores=os.cpu_count()
    )
    configuration.write_text(text, encoding="utf-8")
    variables = {**os.environ, "SLURM_CONF": str(configuration), "PATH": _SEARCHED}
    daemons = []
    try:
        for name in ("slurmctld", "slurmd"):
            with (folder / f"{name}.log").open("wb") as log:
                daemons.append(
                    subprocess.Popen([shutil.which(name, path=_SEARCHED), "-D"], env=variables, stdout=log, stderr=log)
                )
        _wait_idle(variables, folder)
        yield variables
    finally:
        for daemon in reversed(daemons):
            daemon.terminate()
        for daemon in daemons:
            daemon.wait(30)


def wait_for_jobs(variables: Mapping[str, str], seconds: float) -> None:
    """Return once no job is left."""
    ends = time.monotonic() + seconds
    while found := _told(variables, "squeue", "--noheader"):
        assert time.monotonic() < ends, f"jobs still run:\n{found}"
        time.sleep(0.5)


def _wait_idle(variables: Mapping[str, str], folder: Path) -> None:
    ends = time.monotonic() + _START_SECONDS
    while "idle" not in _told(variables, "sinfo", "--noheader", "--format", "%t"):
        logs = [path.read_text(encoding="utf-8")[-2000:] for path in folder.glob("*.log")]
        assert time.monotonic() < ends, f"the node did not come up: {logs}"
        time.sleep(0.5)


def _told(variables: Mapping[str, str], *command: str) -> str:
    done = subprocess.run(command, env=variables, capture_output=True, text=True, encoding="utf-8", check=False)
    return done.stdout.strip()


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
