"""Threads that wait for each other, beside other work: `make bench ONLY=threads`.

The same training steps on two threads, N = 32, width 8, with OMP_WAIT_POLICY passive, as the rules
and commands set it, and active (spinning), each in a process of its own, in turn: alone, and beside
processes that keep every core busy.
"""

import os
import statistics
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from side_by_side import Times, command, ratio, table, times

from ptycho_torch.runtime.markdown import number

POLICIES = ("passive", "active")
STEPS = """
import sys, time
import torch
from training_step import LEARNING_RATE, make_data, training_step
from ptycho_torch.config.generator import GeneratorSettings
from ptycho_torch.networks import build_generator
torch.set_num_threads(2)
settings = GeneratorSettings(name="hybrid", width=8, fno_blocks=4, modes=8)
network, data = build_generator(settings, channels=1, patch_px=32, seed=0), make_data(32, 16)
optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE, fused=True)
training_step(network, optimizer, data)
began = time.perf_counter()
for _ in range(int(sys.argv[1])):
    training_step(network, optimizer, data)
print(time.perf_counter() - began)
"""
BUSY = "while True: pass"


def spent(policy: str, steps: int) -> float:
    """Return the wall seconds of so many steps."""
    environment = os.environ | {"OMP_WAIT_POLICY": policy}
    environment.pop("OMP_NUM_THREADS", None)
    program = [sys.executable, "-c", STEPS, str(steps)]
    here = Path(__file__).parent
    done = subprocess.run(
        program, env=environment, cwd=here, capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def measure(steps: int = 100, rounds: int = 5) -> dict[str, Any]:
    """Return the seconds of each policy by rounds, alone and beside a busy process a core."""
    found: dict[str, Any] = {"steps": steps, "cores": os.cpu_count()}
    for place, busy in (("alone", 0), ("beside", os.cpu_count() or 1)):
        taken: Times = {policy: [] for policy in POLICIES}
        with ExitStack() as others:
            for _ in range(busy):
                other = others.enter_context(subprocess.Popen([sys.executable, "-c", BUSY]))
                others.callback(other.kill)
            for i in range(rounds):
                for policy in POLICIES[:: 1 if i % 2 == 0 else -1]:
                    taken[policy].append(spent(policy, steps))
        found[place] = taken
    return found


def tables(result: Mapping[str, Any]) -> str:
    """Return a row per situation."""
    names = {
        "alone": "alone",
        "beside": f"beside {result['cores']} processes that keep a core busy each",
    }
    rows = []
    for place, words in names.items():
        taken = result[place]
        medians = [1000 * statistics.median(taken[p]) / result["steps"] for p in POLICIES]
        rows.append([words, *(number(ms) for ms in medians), times(ratio(taken, *POLICIES[::-1]))])
    return table(["", "passive, ms a step", "active, ms a step", "active over passive"], rows)


if __name__ == "__main__":
    command("threads", measure, tables)
