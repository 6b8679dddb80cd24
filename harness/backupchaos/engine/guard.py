"""The blast radius: what a run did not make is touched only if the scenario and the user both name it."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from backupchaos.errors import HarnessBroken, MissingCapability, UsageProblem

if TYPE_CHECKING:
    from backupchaos.environments.base import Sandbox
    from backupchaos.model.scenario import Scenario

NOTHING: frozenset[str] = frozenset()


def check(scenario: Scenario, allowed: Collection[str], option: str) -> None:
    """Raise ``UsageProblem`` unless all that the scenario names under ``allow`` was repeated by the user.

    Called before anything is made. ``option`` is how the user says it: ``--allow``.
    """
    if scenario.allow is None:
        return
    missing = [entry for entry in scenario.allow.entries() if entry not in allowed]
    if missing:
        words = " ".join(shlex.quote(f"{option}={entry}") for entry in missing)
        raise UsageProblem(
            f"scenario {scenario.scenario} asks for what no run made: {', '.join(missing)}. Nothing was run. "
            f"If whatever is there may be changed or destroyed, add: {words}"
        )


def check_words(words: Iterable[str], option: str) -> frozenset[str]:
    """The values of the option; raises ``UsageProblem`` for one that no scenario could name."""
    from backupchaos.model.allow import check_host, check_path
    from backupchaos.model.words import Mistake

    found = set()
    for word in words:
        try:
            found.add(check_path(word) if "/" in word else check_host(word))
        except Mistake as mistake:
            raise UsageProblem(f"{option}: {mistake}. {mistake.hint}") from None
    return frozenset(found)


def writable(scenario: Scenario, results: Path) -> Sequence[str]:
    """The allowed folders, as they really are now; raises ``UsageProblem`` where one is no such thing."""
    paths = scenario.allow.paths if scenario.allow is not None else ()
    for path in paths:
        if not os.path.isdir(path):
            raise UsageProblem(f"allow: {path} is not a directory on this machine; make it first")
        real = os.path.realpath(path)
        if real != path:
            raise UsageProblem(f"allow: {path} leads by a symbolic link to {real}; name that instead")
        for precious in _precious(results):
            if precious == path or precious.startswith(f"{path}/"):
                raise UsageProblem(f"allow: {path} holds {precious}, which a run must not destroy")
    return paths


def _precious(results: Path) -> Sequence[str]:
    """What the harness itself lives on, and the user's home."""
    own = str(Path(__file__).parents[1])
    found = (os.path.expanduser("~"), sys.prefix, sys.base_prefix, own, str(results.absolute()))
    return [os.path.realpath(path) for path in found]


def check_hosts(scenario: Scenario, sandbox: Sandbox) -> None:
    """Raise ``MissingCapability`` where the sandbox cannot let the job out to an allowed host.

    A network of its own has no way out in this version; without one the machine's network is in reach anyway.
    """
    hosts = scenario.allow.hosts if scenario.allow is not None else ()
    if hosts and "network" in sandbox.capabilities:
        raise MissingCapability(
            "outside network",
            f"the sandbox has a network of its own without a way out, so {', '.join(hosts)} cannot be reached",
            "run the server inside: repository: sftp, s3, rest or webdav",
        )


def check_port(sandbox: Sandbox, port: int) -> None:
    """Raise ``HarnessBroken`` if a link would lead to a server of somebody else's.

    Possible only without a network name space, where a stranger may have taken the port first.
    """
    if "network" in sandbox.capabilities:
        return
    inodes = _listeners(port)
    ours = {inode for process in sandbox.processes() for inode in _sockets(process.pid)}
    if inodes and not inodes & ours:
        raise HarnessBroken(f"port {port} of 127.0.0.1 was taken by a process that is not of this sandbox")


def _listeners(port: int) -> set[str]:
    """Inodes of the sockets that listen on a port of IPv4."""
    wanted = f":{port:04X}"
    lines = Path("/proc/self/net/tcp").read_text("ascii").splitlines()[1:]
    fields = [line.split() for line in lines]
    return {line[9] for line in fields if line[1].endswith(wanted) and line[3] == "0A"}


def _sockets(pid: int) -> set[str]:
    """Inodes of the sockets that a process holds; none if it is gone."""
    found = set()
    for link in Path(f"/proc/{pid}/fd").glob("*"):
        try:
            target = os.readlink(link)
        except OSError:
            continue  # closed meanwhile
        if target.startswith("socket:["):
            found.add(target[8:-1])
    return found
