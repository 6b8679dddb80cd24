"""The same as a user without any rights, and what the environment says where namespaces are refused."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests import ordinary

import backupchaos
from backupchaos.environments.local import probes
from backupchaos.environments.local.environment import LocalEnvironment, SetupFailed
from backupchaos.errors import UsageProblem

ROOT = Path(backupchaos.__file__).parents[1]
REACHABLE = "import subprocess, sys, backupchaos; assert sys.version_info >= (3, 11); subprocess.run([sys.executable, '-c', ''], check=True)"
SCRIPT = """
import os, signal, sys
from backupchaos.commands import Command
from backupchaos.environments.base import Place, SyscallRule
from backupchaos.environments.local.environment import LocalEnvironment
assert os.getuid() == 65534 and "CapEff:\\t0000000000000000" in open("/proc/self/status").read()
environment = LocalEnvironment(sys.argv[1])
with environment.sandbox({Place.REPOSITORY: 1 << 20}) as s:
    p = s.path(Place.REPOSITORY)
    print(s.mechanism)
    rule = SyscallRule("r", ("openat",), (p + "/f",), "errno", errno=16, times=1, armed=True)
    r, w = os.pipe()
    pid = s.spawn(Command(("sh", "-c", f"echo x >{p}/f; echo y >{p}/f; cat {p}/f; chmod 0 {p}/f; cat {p}/f")), role="target", stdout=w, stderr=w, rules=[rule], drop_dac=True)
    os.close(w)
    print(open(r).read())
    seen = []
    while not any(e.kind == "exit" for e in seen):
        seen += s.events()
    print([e.data["path"] == p + "/f" for e in seen if e.kind == "syscall"])
    s.signal(pid, signal.SIGKILL, tree=True)
"""


@pytest.mark.needs("ordinary-user")
@pytest.mark.parametrize("mechanism", ["userns", "plain"])
def test_an_ordinary_user(mechanism: str) -> None:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    if not shutil.which("setpriv"):
        pytest.skip("needs setpriv")

    def run(python: str, *argv: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*ordinary.BECOME, python, "-B", *argv],
            env=environment,
            cwd="/",
            capture_output=True,
            text=True,
            timeout=60,
        )

    if not (python := ordinary.interpreter(run, REACHABLE)):
        pytest.skip("no interpreter that an ordinary user can reach")
    result = run(python, "-c", SCRIPT, mechanism)
    if "MissingCapability: namespaces" in result.stderr:
        pytest.skip(result.stderr.strip().splitlines()[-1])
    assert result.stderr == ""
    first, *rest, last = result.stdout.strip().splitlines()
    assert first == {"userns": "user namespaces", "plain": "plain"}[mechanism]
    text = "\n".join(rest)
    assert "cannot create" in text or "Device or resource busy" in text
    assert "\ny\n" in text
    assert "Permission denied" in text
    assert last == "[True]"


@pytest.mark.parametrize(
    ("files", "failure", "words"),
    [
        (
            {"/proc/sys/user/max_user_namespaces": "0"},
            ("unshare", errno.ENOSPC),
            "sysctl user.max_user_namespaces=10000",
        ),
        (
            {"/proc/sys/kernel/unprivileged_userns_clone": "0"},
            ("unshare", errno.EPERM),
            "sysctl kernel.unprivileged_userns_clone=1",
        ),
        (
            {"/proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1"},
            ("mount /", errno.EACCES),
            "AppArmor",
        ),
        ({"container": "1"}, ("unshare", errno.EPERM), "--security-opt seccomp=unconfined"),
        ({}, ("pivot_root", errno.EINVAL), "chroot"),
    ],
)
def test_refusals_are_explained(
    monkeypatch: pytest.MonkeyPatch, files: dict[str, str], failure: tuple[str, int], words: str
) -> None:
    monkeypatch.setattr(probes, "_setting", lambda path: files.get(path, ""))
    monkeypatch.setattr(probes, "_in_container", lambda: "container" in files)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    reason, hint = probes.explain(SetupFailed(failure[0], failure[1], ""))
    assert words in f"{reason} ({hint})"


def test_where_namespaces_are_refused_auto_falls_back_and_the_probe_says_why() -> None:
    """A user namespace limit of 0, set in a namespace of its own, refuses every further one."""
    script = f"""
import json, sys
sys.path.insert(0, {str(ROOT)!r})
open("/proc/sys/user/max_user_namespaces", "w").write("0")
from backupchaos.environments.local import environment as e
e._may_mount = lambda: False
found = e.LocalEnvironment("auto")
with found.sandbox({{}}) as s: print(s.mechanism)
print(found.probe()["volumes"])
try: e.LocalEnvironment("userns").sandbox({{}})
except Exception as x: print(type(x).__name__, x)
"""
    if LocalEnvironment("userns").probe()["namespaces"]:
        pytest.skip("needs user namespaces to refuse them")
    result = subprocess.run(
        ["unshare", "-Ur", sys.executable, "-c", script], capture_output=True, text=True, timeout=60
    )
    assert result.stderr == ""
    mechanism, reason, refusal = result.stdout.splitlines()
    assert mechanism == "plain"
    assert "max_user_namespaces" in reason
    assert "MissingCapability namespaces: user namespaces are switched off" in refusal


def test_an_unknown_mechanism_is_the_users_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKUPCHAOS_SANDBOX", "magic")
    with pytest.raises(UsageProblem, match="expected auto, root, userns or plain, not 'magic'"):
        LocalEnvironment()


@pytest.mark.needs("namespaces")
def test_the_probe_answers_every_capability() -> None:
    for mechanism in ("auto", "plain"):
        found = LocalEnvironment(mechanism).probe()
        assert {
            "namespaces",
            "volumes",
            "network",
            "processes",
            "readonly",
            "syscalls",
            "xattrs",
            "permissions",
        } <= set(found)
    assert "no size" in LocalEnvironment("plain").probe()["volumes"]
