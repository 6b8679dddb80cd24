"""What ``doctor`` says of the machine itself: what faults are made of, and what is done without."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterator
from pathlib import Path

from backupchaos.environments.local import landlock
from backupchaos.environments.local.environment import LocalEnvironment
from backupchaos.session.capabilities import Here
from backupchaos_cli.trials import Finding

_NETEM = "packet loss and delay are made by the link instead"
_DM = "disk errors are made by the system call supervisor, power cuts by the file system's own shutdown"


def machine(here: Here) -> Iterator[Finding]:
    """Kernel, system call supervisor, namespaces, control groups, loop devices; each looked at or tried."""

    def fact(name: str, good: bool, detail: str = "") -> Finding:
        return Finding("machine", name, good, detail)

    yield fact("kernel", True, f"{platform.system()} {platform.release()} {platform.machine()}")
    yield fact("user", True, "root" if os.geteuid() == 0 else f"uid {os.geteuid()}")
    yield fact(
        "seccomp", "syscalls" in here.capabilities, here.lacking.get("syscalls") or "user notification works"
    )
    refused = LocalEnvironment("userns").probe()["namespaces"]
    yield fact("user namespaces", not refused, refused or "a sandbox can be made of them")
    yield fact("cgroups", bool(_cgroups()), _cgroups() or "no control group file system is mounted")
    yield fact("loop devices", *_loop())
    yield fact("landlock", bool(landlock.version()), _landlock())
    yield fact("netem", *_netem())
    yield fact("device mapper", *_device_mapper())
    yield fact("what a job can reach", *_reach(here))


def _cgroups() -> str:
    """Which versions are mounted."""
    kinds = set()
    for line in Path("/proc/self/mountinfo").read_text("utf-8", "replace").splitlines():
        kinds.add(line.partition(" - ")[2].split(" ")[0])
    names = {"cgroup": "version 1", "cgroup2": "version 2"}
    return " and ".join(names[kind] for kind in sorted(kinds & set(names)))


def _loop() -> tuple[bool, str]:
    try:
        os.close(os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC))
    except OSError as problem:
        return False, f"/dev/loop-control: {problem.strerror}; power cuts need them"
    return True, "/dev/loop-control opens"


def _landlock() -> str:
    found = landlock.version()
    if found:
        return f"version {found}; plain sandboxes hold their own operations by it"
    return "plain sandboxes check paths without the kernel's help; Linux 5.19 has it"


def _netem() -> tuple[bool, str]:
    """Really add one, in a network namespace that ends with the command."""
    command = ["unshare", "--net", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    command += ["tc", "qdisc", "add", "dev", "lo", "root", "netem", "loss", "1%"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.SubprocessError):
        return False, f"no tc to ask; {_NETEM}"
    if done.returncode:
        return False, f"{(done.stderr.strip().splitlines() or ['refused'])[0]}; not needed: {_NETEM}"
    return True, f"there, and not used: {_NETEM}"


def _device_mapper() -> tuple[bool, str]:
    there = os.path.exists("/dev/mapper/control")
    return there, f"{'there, and not used' if there else 'absent, and not needed'}: {_DM}"


def _reach(here: Here) -> tuple[bool, str]:
    """What holds a job back that goes astray."""
    if "readonly" in here.capabilities:
        return True, "the machine is read-only to it, its network is its own"
    return False, (
        "no namespaces: a job's own writes, signals and connections are not held back, only those of the harness; "
        "see docs/safety.md"
    )
