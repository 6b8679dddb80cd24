"""Really trying what this machine can do, and saying in words why something cannot be had."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from backupchaos.environments.base import Place
from backupchaos.environments.local.environment import SetupFailed, candidates, start, visible
from backupchaos.environments.local.sandbox import LocalSandbox
from backupchaos.errors import BackupChaosError, MissingCapability

_PLAIN = {
    "volumes": "a plain directory has no size of its own",
    "network": "without namespaces the sandbox uses the machine's own network",
    "processes": "without a PID namespace a process can escape when harness and agent are killed together",
    "readonly": "without a mount namespace the rest of the machine is writable as usual",
}
_SIZE = 1 << 20


@cache
def probe(mechanism: str) -> Mapping[str, str]:
    """Capability -> reason or empty; makes one throw-away sandbox per mechanism that is tried."""
    refusal = ""
    for name in candidates(mechanism):
        if name == "plain" and not refusal:
            refusal = "the plain mechanism was asked for"
        try:
            return _try(name, refusal)
        except SetupFailed as problem:
            refusal = "{} ({})".format(*explain(problem))
        except BackupChaosError as problem:
            refusal = str(problem)
    names = ("namespaces", *_PLAIN, "image", "syscalls", "xattrs", "permissions")
    return dict.fromkeys(names, refusal)


def _try(mechanism: str, refusal: str) -> dict[str, str]:
    sizes = {str(place): _SIZE for place in Place}
    with start(mechanism, sizes, visible(())) as sandbox:
        place = sandbox.path(Place.REPOSITORY)
        reasons: dict[str, str] = {"permissions": ""}
        reasons |= sandbox.call("probe_syscalls")
        reasons |= sandbox.call("probe_attributes", volume=place)
        reasons["image"] = _image(sandbox)
        if mechanism == "plain":
            reasons["namespaces"] = refusal
            reasons |= {name: f"{why}: {refusal}" for name, why in _PLAIN.items()}
            return reasons
        reasons |= {"namespaces": "", "processes": ""}
        reasons |= sandbox.call("probe_network")
        reasons |= sandbox.call("probe_files", volume=place, size=_SIZE)
        if sandbox.processes():
            reasons["processes"] = "processes of the host are visible"
        return reasons


def _image(sandbox: LocalSandbox) -> str:
    """Why no volume can be put on a disk image; empty if one has been."""
    try:
        sandbox.use_image(Place.CACHE)  # which no other question is about
    except MissingCapability as gap:
        return f"{gap.reason} ({gap.hint})" if gap.hint else gap.reason
    except (BackupChaosError, OSError) as problem:
        return str(problem)
    return ""


def explain(problem: SetupFailed | None) -> tuple[str, str]:
    """(reason, what to install or set) for a refused sandbox."""
    if problem is None:
        return "no mechanism was tried", ""
    what = f"{problem.step}: {os.strerror(problem.number) if problem.number else problem}"
    if _setting("/proc/sys/user/max_user_namespaces") == "0":
        return f"user namespaces are switched off; {what}", "sysctl user.max_user_namespaces=10000"
    if _setting("/proc/sys/kernel/unprivileged_userns_clone") == "0" and os.geteuid() != 0:
        return f"user namespaces are for root only; {what}", "sysctl kernel.unprivileged_userns_clone=1"
    refused = problem.number in (errno.EPERM, errno.EACCES)
    if (
        refused
        and _setting("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1"
        and os.geteuid() != 0
    ):
        return (
            f"AppArmor takes all rights from unprivileged user namespaces; {what}",
            "sysctl kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile with 'userns,' for this python",
        )
    if refused and _in_container():
        return (
            f"the container refuses namespaces; {what}",
            "run it with --security-opt seccomp=unconfined --security-opt apparmor=unconfined "
            "--security-opt systempaths=unconfined, or with --privileged",
        )
    if problem.step == "pivot_root" and problem.number == errno.EINVAL:
        return (
            f"the root file system cannot be replaced, as in a chroot or an initramfs; {what}",
            "leave the chroot",
        )
    if problem.number == errno.ENOSYS:
        return f"the kernel lacks a call; {what}", "Linux 5.4 or newer on x86-64 or aarch64"
    return what, "namespaces must be allowed for this user"


def _in_container() -> bool:
    return any(Path(mark).exists() for mark in ("/.dockerenv", "/run/.containerenv"))


def _setting(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii").strip()
    except OSError:
        return ""
