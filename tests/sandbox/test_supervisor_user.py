"""The supervisor of a user without any rights: its own user namespace, or nothing at all."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest
from tests import ordinary

from .test_ordinary_user import REACHABLE, ROOT

SCRIPT = """
import os, sys, time
from backupchaos.commands import Command
from backupchaos.environments.base import Place, SyscallRule
from backupchaos.environments.local.environment import LocalEnvironment
assert os.getuid() == 65534 and "CapEff:\\t0000000000000000" in open("/proc/self/status").read()
with LocalEnvironment(sys.argv[1]).sandbox({}) as s:
    p = s.path(Place.REPOSITORY)
    print(sorted(s.capabilities & {"clock", "short_writes", "syscalls"}))
    rules = [SyscallRule("c", ("clock",), ("*",), "clock", delay=1e8, armed=True),
             SyscallRule("s", ("write",), (p + "/f",), "short", size=3, times=1, armed=True)]
    job = "import os, sys, time; fd = os.open(sys.argv[1], 65); print(os.write(fd, b'abcdef'), os.lseek(fd, 0, 1), time.time())"
    r, w = os.pipe()
    s.spawn(Command((sys.executable, "-ISc", job, p + "/f")), role="target", stdout=w, stderr=w, rules=rules, hide_vdso=True)
    os.close(w)
    count, offset, seconds = open(r).read().split()
    print(count, offset, abs(float(seconds) - time.time() - 1e8) < 60)
"""


@pytest.mark.needs("ordinary-user")
@pytest.mark.parametrize("mechanism", ["userns", "plain"])
def test_clocks_and_short_writes_need_no_rights(mechanism: str) -> None:
    if not shutil.which("setpriv"):
        pytest.skip("needs setpriv")
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}

    def run(python: str, *argv: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*ordinary.BECOME, python, "-B", *argv],
            env=environment,
            cwd="/",
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    if not (python := ordinary.interpreter(run, REACHABLE)):
        pytest.skip("no interpreter that an ordinary user can reach")
    result = run(python, "-c", SCRIPT, mechanism)
    if "MissingCapability: namespaces" in result.stderr:
        pytest.skip(result.stderr.strip().splitlines()[-1])
    assert result.stderr == ""
    offers, outcome = result.stdout.splitlines()
    if "clock" not in offers or "short_writes" not in offers:
        pytest.skip(f"ptrace is restricted here, and that is known: {offers}")
    assert outcome == "3 3 True"
