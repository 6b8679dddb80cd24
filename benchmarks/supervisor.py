"""What the system call supervisor costs: per call, and for a whole backup.

A stopped call is two changes between processes and some thinking in between, so its unit is a bare round trip
of one byte through pipes between two processes on this machine: ratios compare where microseconds do not. The
variants run interleaved. ``python benchmarks/supervisor.py [--rounds N] [--tools restic,borg]``.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from backupchaos.commands import Command
from backupchaos.environments.base import Place, SyscallRule
from backupchaos.environments.local.environment import LocalEnvironment
from backupchaos.environments.local.sandbox import LocalSandbox

BUDGET = 60.0
CALLS = """
import os, sys, time
path, chunks = sys.argv[1], int(sys.argv[2])
stat, read, clock = os.stat, os.read, time.perf_counter
def one(): stat(path)
def passing(): read(fd, 1)
def telling(): time.time()
fd = os.open("/dev/zero", os.O_RDONLY)
call = {"stat": one, "read": passing, "time": telling}[sys.argv[3]]
def run():
    start = clock()
    for _ in range(50):
        try: call()
        except OSError: pass
    return (clock() - start) / 50 * 1e6
print(*(run() for _ in range(18)))  # up to 900 hits are reported one by one
for _ in range(2): run()
print(*(run() for _ in range(chunks)))
"""
ROUND_TRIP = """
import os, time
a, b = os.pipe(), os.pipe()
if os.fork() == 0:
    os.close(1); os.close(a[1])
    while os.read(a[0], 1): os.write(b[1], b"x")
    os._exit(0)
def run():
    start = time.perf_counter()
    for _ in range(50): os.write(a[1], b"x"); os.read(b[0], 1)
    return (time.perf_counter() - start) / 50 * 1e6
for _ in range(2): print(*(run() for _ in range(60)))
"""


def output(sandbox: LocalSandbox, argv: Sequence[str], **how: Any) -> str:
    read, write = os.pipe()
    try:
        sandbox.spawn(Command(tuple(argv), how.pop("env", {})), role="target", stdout=write, **how)
    finally:
        os.close(write)
    with open(read, encoding="utf-8") as pipe:
        text = pipe.read()
    sandbox.events()
    return text


def per_call(sandbox: LocalSandbox, rounds: int) -> None:
    source = sandbox.path(Place.SOURCE)
    path = f"{source}/folder/file"
    sandbox.call("write_file", path=path, text="x")

    def rule(action: Any, paths: str = f"{source}/**", calls: str = "stat", **more: Any) -> list[SyscallRule]:
        name = f"{action}{len(made)}"
        made.append(name)
        return [SyscallRule(name, (calls,), (paths,), action, armed=more.pop("armed", True), **more)]

    made: list[str] = []
    variants: Mapping[str, tuple[str, Any]] = {
        "round trip by pipes": ("", dict),
        "bare stat": ("stat", dict),
        "observe, path decoded": ("stat", lambda: {"rules": rule("observe")}),
        "errno": ("stat", lambda: {"rules": rule("errno", errno=5)}),
        "another path, let pass": ("stat", lambda: {"rules": rule("errno", "/nowhere/**", errno=5)}),
        "rule not armed": ("stat", lambda: {"rules": rule("errno", errno=5, armed=False)}),
        "bare read": ("read", dict),
        "read, not in the filter": ("read", lambda: {"rules": rule("observe")}),
        "bare time": ("time", dict),
        "time, shifted": (
            "time", lambda: {"rules": rule("clock", "*", "clock", delay=9.0), "hide_vdso": True}
        ),
    }  # fmt: skip
    samples: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in variants}
    for _ in range(rounds):
        for name, (kind, how) in variants.items():
            argv = [sys.executable, "-ISc", CALLS if kind else ROUND_TRIP, path, "60", kind]
            for line, kept in zip(output(sandbox, argv, **how()).splitlines(), samples[name], strict=True):
                kept += [float(word) for word in line.split()]
    unit = quiet(samples["round trip by pipes"][1])
    for name, (first, later) in samples.items():
        told = f"; while told one by one {quiet(first):7.2f} us" if "bare" not in name else ""
        print(f"{name:24} {quiet(later):7.2f} us {quiet(later) / unit:6.2f} round trips{told}")
    print(f"budget                   {BUDGET:7.2f} us per matched call on a quiet machine")


def quiet(values: Sequence[float]) -> float:
    """The lowest decile: what a call costs when nobody else wants the processor."""
    return statistics.quantiles(values, n=10)[0]


SETUP = {
    "restic": ("restic init -q -r {r}", "restic backup -q -r {r} {s}", {"RESTIC_PASSWORD": "x"}),
    "borg": ("borg init -e none {r}", "borg create {r}::a {s}", {}),
}


def whole_run(sandbox: LocalSandbox, tool: str, rounds: int) -> None:
    """One backup with rules as faults have them, against the same without; and with the clock shifted."""
    init, backup, env = SETUP[tool]
    source, repository = sandbox.path(Place.SOURCE), sandbox.path(Place.REPOSITORY)
    below = (f"{repository}/**",)
    writes = ("write", "rename", "unlink", "mkdir", "open", "sync")
    rules = [SyscallRule(f"{tool}.all", writes, below, "observe", armed=True)]
    clock = [SyscallRule(f"{tool}.clock", ("clock",), ("*",), "clock", delay=9.0, armed=True)]
    shapes: Mapping[str, Mapping[str, Any]] = {
        "bare": {},
        "observed": {"rules": rules},
        "clock": {"rules": clock, "hide_vdso": True},
    }
    times: dict[str, list[float]] = {name: [] for name in shapes}
    for number in range(rounds + 1):
        for name, shape in shapes.items():
            place = f"{repository}/{name}{number}"
            made = init.format(r=place).split()
            output(sandbox, made, env=env)
            started = time.perf_counter()
            output(sandbox, backup.format(r=place, s=source).split(), env=env, **shape)
            times[name].append(time.perf_counter() - started)
            output(sandbox, ["rm", "-rf", place])
    totals = sandbox.totals()
    bare = min(times["bare"])
    print(f"{tool}: {bare * 1000:.0f} ms bare, the fastest of {rounds + 1} runs of each kind")
    for name, counted in (("observed", f"{tool}.all"), ("clock", f"{tool}.clock")):
        acted = totals[counted]["acted"] // (rounds + 1)
        print(f"  {name:8} ratio {min(times[name]) / bare:.3f}, {acted} calls a run acted on")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tools", default="restic,borg")
    chosen = parser.parse_args()
    with LocalEnvironment().sandbox({}) as sandbox:
        per_call(sandbox, chosen.rounds)
        folder = sandbox.path(Place.SOURCE)
        script = (
            "import os,sys\nfor n in range(40): open(f'{sys.argv[1]}/f{n}', 'wb').write(os.urandom(100_000))"
        )
        output(sandbox, [sys.executable, "-ISc", script, folder])
        for tool in filter(None, chosen.tools.split(",")):
            if shutil.which(tool):
                whole_run(sandbox, tool, chosen.rounds)
            else:
                print(f"{tool}: not on PATH")


if __name__ == "__main__":
    main()
