"""Sandboxes for the tests of the local environment; each mechanism is skipped where it is refused."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from backupchaos.commands import Command
from backupchaos.environments.base import Place, SandboxEvent, SyscallRule
from backupchaos.environments.local.environment import LocalEnvironment
from backupchaos.environments.local.sandbox import LocalSandbox

LIMIT = 30.0


@dataclass
class Result:
    output: str
    returncode: int
    pid: int
    events: list[SandboxEvent]

    def hits(self, rule: str) -> list[Mapping[str, Any]]:
        return [e.data for e in self.events if e.kind == "syscall" and e.data["rule"] == rule]


class Box:
    """A sandbox with what tests do all the time."""

    def __init__(self, sandbox: LocalSandbox) -> None:
        self.sandbox = sandbox
        self.seen: list[SandboxEvent] = []

    def path(self, place: Place = Place.SOURCE) -> str:
        return self.sandbox.path(place)

    def start(
        self, *argv: str, rules: Sequence[SyscallRule] = (), role: Any = "target", **how: Any
    ) -> tuple[int, int]:
        """(pid, read end of its output)."""
        read, write = os.pipe()
        try:
            command = Command(
                argv if len(argv) > 1 else ("/bin/sh", "-c", *argv), how.pop("env", {}), how.pop("cwd", None)
            )
            pid = self.sandbox.spawn(command, role=role, stdout=write, stderr=write, rules=rules, **how)
        except BaseException:
            os.close(read)
            raise
        finally:
            os.close(write)
        return pid, read

    def wait_for(self, found: Callable[[SandboxEvent], bool]) -> SandboxEvent:
        deadline = time.monotonic() + LIMIT
        at = 0
        while True:
            for event in self.seen[at:]:
                if found(event):
                    return event
            at = len(self.seen)
            left = deadline - time.monotonic()
            assert left > 0, f"not seen within {LIMIT} s; seen: {self.seen[-20:]}"
            select.select([self.sandbox], [], [], left)
            self.seen += self.sandbox.events()

    def code(self, pid: int) -> int:
        """Wait for the end of a process."""
        return int(self.wait_for(lambda e: e.kind == "exit" and e.data["pid"] == pid).data["returncode"])

    def line(self, read: int) -> str:
        """The next line that a process prints."""
        text = b""
        while not text.endswith(b"\n"):
            assert select.select([read], [], [], LIMIT)[0], f"no line within {LIMIT} s, only {text!r}"
            byte = os.read(read, 1)
            assert byte, f"output ended after {text!r}"
            text += byte
        return text.decode().rstrip("\n")

    def run(self, *argv: str, **how: Any) -> Result:
        first = len(self.seen)
        pid, read = self.start(*argv, **how)
        output, deadline, ended = b"", time.monotonic() + LIMIT, False
        while not ended:  # not until the end of output: a daemon may keep it open
            ready, _, _ = select.select(
                [read, self.sandbox.fileno()], [], [], max(0, deadline - time.monotonic())
            )
            assert ready, f"{argv} did not end within {LIMIT} s, output {output!r}"
            self.seen += self.sandbox.events()
            ended = any(e.kind == "exit" and e.data["pid"] == pid for e in self.seen[first:])
            while select.select([read], [], [], 0)[0] and (chunk := os.read(read, 1 << 16)):
                output += chunk
        os.close(read)
        code = self.code(pid)
        return Result(output.decode(errors="replace"), code, pid, self.seen[first:])

    def kill(self, pid: int) -> None:
        self.sandbox.signal(pid, signal.SIGKILL, tree=True)


@pytest.fixture
def make_box() -> Iterator[Callable[..., Box]]:
    made: list[LocalSandbox] = []

    def make(mechanism: str = "auto", expose: Sequence[str] = (), **sizes: int) -> Box:
        environment = LocalEnvironment(mechanism)
        if mechanism in ("root", "userns") and (reason := environment.probe()["namespaces"]):
            pytest.skip(f"needs {mechanism}: {reason}")
        sandbox = environment.sandbox({Place(k): v for k, v in sizes.items()}, expose=expose)
        made.append(sandbox)
        return Box(sandbox)

    yield make
    for sandbox in made:
        sandbox.close()


@pytest.fixture(params=["root", "userns"])
def box(request: pytest.FixtureRequest, make_box: Callable[..., Box]) -> Box:
    """A sandbox by each of the namespace mechanisms."""
    return make_box(request.param, repository=1 << 20)


@pytest.fixture(params=["root", "userns", "plain"])
def any_box(request: pytest.FixtureRequest, make_box: Callable[..., Box]) -> Box:
    """A sandbox by each mechanism."""
    return make_box(request.param)
