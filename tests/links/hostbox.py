"""A sandbox that is none: processes on the host's loopback, for the tests of the links alone."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Sequence
from typing import Any, cast

from backupchaos.commands import Command
from backupchaos.environments.base import Sandbox
from backupchaos.links.behind import Server
from backupchaos.links.links import Links


class HostBox:
    """The part of the Sandbox protocol that Links needs."""

    name = "host"
    mechanism = "plain"
    capabilities: frozenset[str] = frozenset()

    def __init__(self, *wrapper: str) -> None:
        self._wrapper = wrapper
        """A command that runs the commands, such as setpriv."""
        self.children: list[subprocess.Popen[bytes]] = []

    def front(self) -> tuple[str, str]:
        return "127.0.0.1", "127.0.0.1"

    def spawn(
        self,
        command: Command,
        *,
        role: str,
        stdout: int | None = None,
        stderr: int | None = None,
        stdin: int | None = None,
        pass_fds: Sequence[tuple[int, int]] = (),
        **_: Any,
    ) -> int:
        assert role == "link"
        # Move the descriptors out of the way first: a wanted number may be in use by another one.
        high = [os.dup(fd) for fd, _ in pass_fds]
        script = " ".join(f"{number}<&{fd}" for fd, (_, number) in zip(high, pass_fds, strict=True))
        closing = " ".join(f"{fd}<&-" for fd in high if fd not in [number for _, number in pass_fds])
        argv = ["/bin/sh", "-c", f'exec "$@" {script} {closing}', "sh", *self._wrapper, *command.argv]
        if any(fd > 9 for fd in high):  # POSIX shells take one digit only
            argv[0] = "/bin/bash"
        child = subprocess.Popen(
            argv,
            env={"PATH": os.environ["PATH"], **command.env},
            stdin=stdin or subprocess.DEVNULL,
            stdout=stdout or subprocess.DEVNULL,
            stderr=stderr,
            pass_fds=high,
        )
        for fd in high:
            os.close(fd)
        self.children.append(child)
        return child.pid

    def signal(self, pid: int, signal: int, *, tree: bool = False) -> bool:
        child = next(child for child in self.children if child.pid == pid)
        child.send_signal(signal)
        return True

    def connect(self, port: int, host: str = "127.0.0.1") -> socket.socket:
        return socket.create_connection((host, port), timeout=5)

    def close(self) -> None:
        for child in self.children:
            if child.poll() is None:
                child.kill()
            child.wait()


def links_on(box: HostBox, *, seed: int = 1, server: Server = "embedded") -> Links:
    """Links in a box that is no whole sandbox."""
    return Links(cast(Sandbox, box), seed, server)
