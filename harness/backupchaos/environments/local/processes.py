"""Who lives in the sandbox: parentage, roles, and signals that reach a whole tree.

A spawned process carries its spawn number in two marks that all its descendants inherit: an
environment variable, and a tiny change of a resource limit nobody uses (POSIX message queue
bytes). The second survives a daemon that wipes its environment and forks twice.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

MARK = "BACKUPCHAOS_ROLE"
LIMIT_BASE = 1 << 19
"""The soft RLIMIT_MSGQUEUE of spawn number n is ``LIMIT_BASE + n``."""
_LIMIT_MARKS = 1 << 18
_TICKS = os.sysconf("SC_CLK_TCK")
_PATIENCE = 3.0
"""Seconds after which processes that do not die (in uninterruptible sleep) are left to the kernel."""


class Process:
    """One line of ``/proc``; identity is pid plus start time."""

    __slots__ = ("cpu", "parent", "pid", "started", "state")

    def __init__(self, pid: int, parent: int, started: int, state: str, cpu: int = 0) -> None:
        self.pid, self.parent, self.started, self.state = pid, parent, started, state
        self.cpu = cpu
        """Ticks of processor time, in user mode and in the kernel."""


def read_process(pid: int) -> Process | None:
    """The process behind ``pid``; None if it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            raw = file.read()
    except OSError:
        return None
    fields = raw[raw.rindex(b")") + 2 :].split()  # the name may hold blanks and brackets
    return Process(
        pid, int(fields[1]), int(fields[19]), fields[0].decode(), int(fields[11]) + int(fields[12])
    )


def runnable(pid: int) -> bool:
    """Whether one of the process's threads runs, or would if there were a processor for it."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:  # it has just ended
        return False
    states = (_state(f"/proc/{pid}/task/{thread}/stat") for thread in threads)
    return any(state == b"R" for state in states)


def _state(path: str) -> bytes:
    """The letter of a process or thread; empty if it is gone."""
    try:
        with open(path, "rb") as file:
            raw = file.read()
    except OSError:
        return b""
    start = raw.rindex(b")") + 2
    return raw[start : start + 1]


def table(ended: set[int] | None = None) -> dict[int, Process]:
    """All live processes that ``/proc`` shows, without zombies; ``ended`` takes the dead."""
    found = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        process = read_process(int(name))
        if process is not None and process.state not in "ZX":
            found[process.pid] = process
        elif ended is not None:
            ended.add(int(name))
    return found


def below(processes: Mapping[int, Process], roots: Iterable[int]) -> set[int]:
    """The roots that live, and all their descendants."""
    children: dict[int, list[int]] = {}
    for process in processes.values():
        children.setdefault(process.parent, []).append(process.pid)
    found: set[int] = set()
    waiting = list(roots)
    while waiting:
        pid = waiting.pop()
        if pid not in found:
            if pid in processes:
                found.add(pid)
            waiting += children.get(pid, ())
    return found


def mark_of(pid: int) -> int:
    """The spawn number that a process inherited, 0 if it bears no mark."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            environment = file.read()
        for entry in environment.split(b"\0"):
            if entry.startswith(MARK.encode() + b"="):
                number = entry.rpartition(b":")[2]
                if number.isdigit():
                    return int(number)
    except OSError:
        pass  # another user's process, or gone
    try:
        with open(f"/proc/{pid}/limits", "rb") as file:
            for line in file:
                if line.startswith(b"Max msgqueue size"):
                    soft = line[17:].split()[0]
                    number_text = int(soft) - LIMIT_BASE if soft.isdigit() else 0
                    return number_text if 0 < number_text < _LIMIT_MARKS else 0
    except OSError:
        pass
    return 0


def command_of(pid: int) -> str:
    """The command line as shown by ``ps``, at most 4096 characters."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            raw = file.read(4096)
        if not raw:
            with open(f"/proc/{pid}/comm", "rb") as file:
                raw = b"[" + file.read().strip() + b"]"
    except OSError:
        raw = b""
    return os.fsdecode(raw.rstrip(b"\0").replace(b"\0", b" "))


def dispositions(pid: int) -> dict[str, int]:
    """What a process does with signals, as masks, and whether it waits for one: ``ProcessInfo`` has their meaning.

    Empty if it is gone.
    """
    names = {b"SigCgt": "caught", b"SigIgn": "ignored", b"SigBlk": "blocked", b"ShdPnd": "pending"}
    found: dict[str, int] = {}
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            for line in file:
                key, _, value = line.partition(b":")
                if key in names:
                    found[names[key]] = int(value, 16)
        with open(f"/proc/{pid}/wchan", "rb") as file:
            found["awaits"] = file.read().startswith(b"do_sigtimedwait")
    except OSError:
        pass  # gone, or not ours to see
    return found


class Registry:
    """What was spawned, and to which spawn every other process belongs."""

    def __init__(self, sandbox_pid: int) -> None:
        self._top = sandbox_pid
        self._roles: list[str] = [""]
        self.alive: dict[int, int] = {}
        """Pid of a live spawned process -> its spawn number."""
        self.born: dict[int, dict[str, Any]] = {}
        """What was seen of a process of the target at its start."""
        self.own: set[int] = set()
        """The sandbox's own helpers."""
        self.tidy: Callable[[], None] = lambda: None
        """Collects the dead: forkers leave so many that listing them takes most of the time."""
        self._numbers: dict[int, int] = {}
        self._seen: dict[tuple[int, int], int] = {}

    def next_number(self, role: str) -> int:
        """Reserve the number of the next spawn."""
        self._roles.append(role)
        return len(self._roles) - 1

    def started(self, pid: int, number: int) -> None:
        """A spawn succeeded."""
        self.alive[pid] = number
        self._numbers[pid] = number

    def ended(self, pid: int) -> str | None:
        """A child was reaped; its role if it was a spawned one."""
        self.own.discard(pid)
        number = self.alive.pop(pid, None)
        return None if number is None else self._roles[number]

    def owners(self, ended: set[int] | None = None) -> dict[int, tuple[Process, int, bool]]:
        """Pid -> (process, spawn number or 0, whether it lost its parent), the sandbox's own excluded.

        Parentage is remembered between calls, for processes that bear no mark.
        """
        processes = table(ended)
        own = below(processes, self.own) | {self._top}
        roots = {pid: number for pid, number in self.alive.items() if pid in processes}
        found: dict[int, tuple[Process, int, bool]] = {}
        for pid, number in roots.items():
            for member in below(processes, [pid]) - own:
                if member == pid or member not in roots:
                    found[member] = (processes[member], number, False)
        for pid, process in processes.items():
            if pid in found or pid in own or process.parent == 0 or not self._is_ours(process, processes):
                continue
            number = self._seen.get((pid, process.started), 0) or mark_of(pid)
            found[pid] = (process, number, True)
        self._seen = {(p.pid, p.started): number for p, number, _ in found.values()}
        return found

    def describe(self) -> list[dict[str, object]]:
        """``ProcessInfo`` of every live process, as JSON."""
        result: list[dict[str, object]] = []
        for pid, (process, number, adrift) in sorted(self.owners().items()):
            role = self._roles[number] if 0 < number < len(self._roles) else ""
            if adrift and role in ("", "target"):
                role = "orphan"
            line = {"pid": pid, "parent": process.parent, "role": role, "command": command_of(pid)}
            state = {"state": process.state, "cpu": process.cpu / _TICKS}
            result.append({**line, **state, **dispositions(pid)})
        return result

    def of_role(self, role: str) -> list[Process]:
        """All live processes that belong to spawns of this role."""
        known = range(1, len(self._roles))
        return [process for process, n, _ in self.owners().values() if n in known and self._roles[n] == role]

    def foreign(self, pid: int) -> bool:
        """Whether this is a live process, and never one of the sandbox's: nothing may be done to it.

        The sandbox's own helpers are foreign too. Ends of our own processes are no such case, nor are
        processes that got the pid of one.
        """
        if pid in self._numbers:
            return False
        return (
            pid == self._top
            or pid in self.own
            or (read_process(pid) is not None and pid not in self.owners())
        )

    def signal(self, pid: int, number: int) -> bool:
        """Signal one process, unless its pid belongs to another by now."""
        owner = self.owners().get(pid)
        return owner is not None and send(owner[0], number)

    def signal_tree(self, pid: int, number: int) -> bool:
        """Signal a process, its descendants and the orphans of its spawn, until no new one appears.

        Before a KILL every member is stopped, so that a forker cannot outrun us; one that does
        nevertheless meets a standstill of the whole sandbox.
        """
        if number != signal.SIGKILL:
            return self._sweep(pid, number, 100)
        begun, hit = time.monotonic(), False
        while not self._at_rest(pid):
            if self._top == 1:
                hit = self._standstill(pid)
                break
            if time.monotonic() > begun + _PATIENCE:
                break
        hit |= self._sweep(pid, number, 20)
        while self._sweep(pid, number, 1) and time.monotonic() < begun + _PATIENCE:
            time.sleep(0.0005)  # the kernel needs a moment to turn the dead into zombies
        return hit

    def _at_rest(self, pid: int) -> bool:
        """Stop the tree; True when all its members stand still and none can have been missed.

        ``/proc`` is not read at one instant: a process that ended in between may have left a child that
        the listing lacks. So nobody may end between two listings.
        """
        self._sweep(pid, signal.SIGSTOP, 3)
        before: set[int] = set()
        after: set[int] = set()
        self._tree(pid, before)
        members = self._tree(pid, after)
        return before == after and all(process.state in "Tt" for process in members)

    def _standstill(self, pid: int) -> bool:
        """Stop everything in the PID namespace at one instant, kill the tree, let the others go on.

        ``kill(-1)`` from PID 1 reaches children that are just being born, too.
        """
        stopped = {(p.pid, p.started) for p in table().values() if p.state in "Tt"}
        os.kill(-1, signal.SIGSTOP)
        try:
            return self._sweep(pid, signal.SIGKILL, 20)
        finally:
            for process in table().values():
                if (process.pid, process.started) not in stopped:
                    send(process, signal.SIGCONT)

    def _sweep(self, pid: int, number: int, rounds: int) -> bool:
        done: set[tuple[int, int]] = set()
        for _ in range(rounds):
            self.tidy()
            fresh = [p for p in self._tree(pid) if (p.pid, p.started) not in done]
            if not fresh:
                break
            for process in fresh:
                send(process, number)
                done.add((process.pid, process.started))
        return bool(done)

    def _tree(self, pid: int, ended: set[int] | None = None) -> list[Process]:
        owners = self.owners(ended)
        processes = {member: owner[0] for member, owner in owners.items()}
        members = below(processes, [pid])
        spawn = self._numbers.get(pid, 0)
        if spawn and self.alive.get(pid, spawn) == spawn:
            members |= {member for member, owner in owners.items() if owner[1] == spawn}
        return [processes[member] for member in members]

    def _is_ours(self, process: Process, processes: Mapping[int, Process]) -> bool:
        """In a PID namespace everybody is; in ``plain`` mode only what hangs below the agent."""
        if self._top == 1:
            return True
        parent: Process | None = process
        for _ in range(len(processes)):
            if parent is None or parent.parent in (0, 1):
                return False
            if parent.parent == self._top:
                return True
            parent = processes.get(parent.parent)
        return False


def send(process: Process, number: int) -> bool:
    """Signal exactly this process, never a later one that inherited its pid."""
    try:
        handle = os.pidfd_open(process.pid)
    except OSError:
        return False
    try:
        now = read_process(process.pid)
        if now is None or now.started != process.started:
            return False
        signal.pidfd_send_signal(handle, number)
    except OSError:
        return False
    finally:
        os.close(handle)
    return True
