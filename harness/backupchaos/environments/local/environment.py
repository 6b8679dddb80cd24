"""The factory of local sandboxes: which mechanism, which volumes, what stays visible."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

from backupchaos.environments.base import Place
from backupchaos.environments.local import isolation, journal
from backupchaos.environments.local.channel import Channel, Message, pair
from backupchaos.environments.local.client import locate
from backupchaos.environments.local.sandbox import LocalSandbox
from backupchaos.errors import HarnessBroken, MissingCapability, UsageProblem

DEFAULT_SIZE = 256 * 2**20
_FORCE = "BACKUPCHAOS_SANDBOX"
MECHANISMS = ("root", "userns", "plain")
"""Of a local sandbox, the strongest first: what only root has is not given away by a user namespace."""
_AGENT = Path(__file__).with_name("agent.py")
_CAP_SYS_ADMIN = 21
_NAMESPACES = frozenset({"namespaces", "volumes", "network", "processes", "readonly"})


class SetupFailed(Exception):
    """The agent could not isolate itself: ``step`` and ``errno`` say where and why."""

    def __init__(self, step: str, number: int, text: str) -> None:
        super().__init__(text)
        self.step, self.number = step, number


class LocalEnvironment:
    """Sandboxes on this machine; ``mechanism`` is ``auto``, ``root``, ``userns`` or ``plain``.

    ``auto`` takes the strongest that works: namespaces as root, as an ordinary user, else a plain
    directory. The variable BACKUPCHAOS_SANDBOX overrides it.
    """

    name = "local"

    def __init__(self, mechanism: str | None = None) -> None:
        self._mechanism = mechanism or os.environ.get(_FORCE) or "auto"
        if self._mechanism not in ("auto", *MECHANISMS):
            raise UsageProblem(f"{_FORCE}: expected auto, root, userns or plain, not {self._mechanism!r}")

    def probe(self) -> Mapping[str, str]:
        """Capability -> empty string if usable here, else the reason why not; tried once per process."""
        from backupchaos.environments.local.probes import probe

        return probe(self._mechanism)

    def sandbox(
        self, sizes: Mapping[Place, int], *, expose: Sequence[str] = (), writable: Sequence[str] = ()
    ) -> LocalSandbox:
        """A fresh sandbox; places without a size get 256 MiB. Raises ``MissingCapability``.

        ``writable`` are real directories of the machine that may be changed (see ``engine.guard``).
        """
        volumes = {str(place): int(sizes.get(place, DEFAULT_SIZE)) for place in Place}
        with suppress(OSError):
            journal.heal()  # what runs that were killed have left, before anything new is made
        keep = visible(expose)
        last: SetupFailed | None = None
        for mechanism in candidates(self._mechanism):
            if mechanism in _refused and mechanism not in (self._mechanism, "plain"):
                continue  # what was refused once stays so while this process lives
            try:
                return start(mechanism, volumes, keep, writable)
            except SetupFailed as problem:
                last = problem
                if problem.number in _FINAL:
                    _refused.add(mechanism)
        from backupchaos.environments.local.probes import explain

        reason, hint = explain(last)
        raise MissingCapability("namespaces", reason, hint)


def candidates(wanted: str) -> list[str]:
    """Mechanisms to try, strongest first."""
    if wanted != "auto":
        return [wanted]
    return [mechanism for mechanism in MECHANISMS if mechanism != "root" or _may_mount()]


@cache
def _may_mount() -> bool:
    if os.geteuid() != 0:
        return False
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> _CAP_SYS_ADMIN & 1)
    return False


_refused: set[str] = set()
_FINAL = (errno.EPERM, errno.EACCES, errno.EINVAL, errno.ENOSYS)
"""Refusals that will not change; a full table or memory might."""


def start(
    mechanism: str,
    volumes: Mapping[str, int],
    keep: Sequence[tuple[str, str]],
    writable: Sequence[str] = (),
) -> LocalSandbox:
    """Start an agent and wait until its sandbox stands; raises ``SetupFailed``."""
    ours_r, theirs_r = pair()
    ours_e, theirs_e = pair()
    requests, events = Channel(ours_r), Channel(ours_e)
    log = os.memfd_create("agent log")
    flags = "-ISB" if sys.dont_write_bytecode else "-IS"
    argv = [
        sys.executable,
        flags,
        str(_AGENT),
        str(theirs_r.fileno()),
        str(theirs_e.fileno()),
        str(os.getpid()),
    ]
    process: subprocess.Popen[bytes] | None = None
    try:
        with theirs_r, theirs_e:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(theirs_r.fileno(), theirs_e.fileno()),
                start_new_session=True,
                cwd="/",
                env={"LANG": "C.UTF-8", "PATH": os.environ.get("PATH", os.defpath)},
            )
        config: Message = {"mechanism": mechanism, "volumes": dict(volumes), "keep": list(keep)}
        config |= {"harness": os.getpid(), "writable": sorted(writable)}
        if mechanism == "plain":
            config["folder"] = journal.home()
        requests.send(config)
        answer, _ = requests.receive()
    except (EOFError, OSError) as problem:
        text = os.pread(log, 20000, 0).decode(errors="backslashreplace")
        _abandon(requests, events, log)
        if process is not None:
            process.wait()  # it cannot stay: its sockets are closed
        raise HarnessBroken(f"the sandbox's agent did not start: {problem}\n{text}".strip()) from None
    if "failed" in answer:
        _abandon(requests, events, log)
        process.wait()
        raise SetupFailed(str(answer["failed"]), answer["errno"] or 0, answer["text"])
    paths = {
        place: answer["paths"][place] if "paths" in answer else f"{isolation.BASE}/{place}" for place in Place
    }
    sandbox = LocalSandbox(
        process, (requests, events, log), mechanism, paths, os.environ.get("PATH", os.defpath)
    )
    if mechanism == "plain":
        sandbox.leftovers = (answer["folder"], answer["token"])
    try:
        sandbox.capabilities = _offers(sandbox, mechanism, bool(answer.get("weak")))
    except BaseException:
        sandbox.close()
        raise
    return sandbox


_tried: dict[str, frozenset[str]] = {}


def _offers(sandbox: LocalSandbox, mechanism: str, weak: bool) -> frozenset[str]:
    """What a sandbox of this mechanism can do; what depends on the kernel is tried in the first one."""
    if mechanism not in _tried:
        reasons = sandbox.call("probe_syscalls") | sandbox.call(
            "probe_attributes", volume=sandbox.path(Place.STATE)
        )
        _tried[mechanism] = frozenset(name for name, reason in reasons.items() if not reason) | {
            "permissions"
        }
    return _tried[mechanism] | (
        frozenset() if mechanism == "plain" else _NAMESPACES - ({"readonly"} if weak else set())
    )


def _abandon(requests: Channel, events: Channel, log: int) -> None:
    requests.close()
    events.close()
    os.close(log)


def visible(expose: Sequence[str]) -> list[tuple[str, str]]:
    """What must stay visible although it may lie in a hidden directory, outermost first."""
    wanted = [sys.prefix, sys.base_prefix, str(_AGENT.parents[3])]
    with suppress(OSError):  # it may have been removed
        wanted.append(os.getcwd())
    # A .pth file may lead to packages outside of the prefix; our own processes and the reference job need them.
    wanted += [p for p in sys.path if p.startswith("/")]
    wanted += [p for p in os.environ.get("PATH", "").split(":") if p.startswith("/")]
    pairs = {pair for pair in locate([p for p in wanted if os.path.exists(p)]) if isolation.hidden(pair[0])}
    pairs |= {pair for pair in locate(expose) if isolation.hidden(pair[0])}
    return sorted(pairs)
