"""Three backup tools for every kind of fault: restic (Go, without libc), borg (Python) and rsync (C).

The repository is a directory, or it is reached over TCP, so that a link can stand between: restic speaks HTTP to
rclone, rsync its own protocol to its own daemon, and borg through a bridge to a ``borg serve`` for each connection.
"""

from __future__ import annotations

import posixpath
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace

from backupchaos.commands import Command
from backupchaos.services.base import Service
from backupchaos.services.registry import make_service
from backupchaos.targets.base import BaseTarget, Location, Profile, RepositoryType, Target, Workspace
from backupchaos_targets.borg import BorgTarget
from backupchaos_targets.programs import need_program, program_path
from backupchaos_targets.restic import ResticTarget

_INETD = r"""
import os, socket, subprocess, sys
server = socket.create_server(('127.0.0.1', int(sys.argv[1])), backlog=50)
print('ready', flush=True)
children = []
while True:
    connection, _ = server.accept()
    children = [child for child in children if child.poll() is None]
    children.append(subprocess.Popen(sys.argv[2:], stdin=connection, stdout=connection, stderr=subprocess.DEVNULL))
    connection.close()
"""
_BRIDGE = r"""
import os, socket, sys, threading
words = sys.argv[1:]
port = int(words[words.index('-p') + 1])
host = next(word for word in words if '@' in word).rpartition('@')[2]
try: sock = socket.create_connection((host, port), 5)
except OSError as error: sys.exit(f'Connection to {host} failed: {error}')
sock.settimeout(5)
def up():
    try:
        while data := os.read(0, 65536): sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
    except OSError as error: end(error)
def end(error):
    os.write(2, f'Connection lost: {error}\n'.encode())
    os._exit(255)
threading.Thread(target=up, daemon=True).start()
try:
    while data := sock.recv(65536): os.write(1, data)
except OSError as error: end(error)
"""
"""In the place of ssh, for which borg would need a server that runs commands."""


class Rsync(BaseTarget):
    """``rsync -a`` into a mirror."""

    name = "rsync"
    profile = Profile(
        speaks=("local", "rest"), aspects=frozenset({"content"}), features=frozenset(), history=False
    )

    def expose(self) -> Sequence[str]:
        return program_path("rsync")

    def _command(self, work: Workspace, *arguments: str) -> Command:
        program = need_program("rsync", "apt install rsync")
        options = ("-a", "--fsync", "--timeout=5", f"--temp-dir={work.temp}", "-v", "--ignore-times")
        return Command(
            (program, *(options if work.location.kind == "local" else (*options[:3], "-v")), *arguments)
        )

    @staticmethod
    def _mirror(work: Workspace) -> str:
        where = work.location
        return where.path if where.kind == "local" else f"rsync://{where.host}:{where.port}/repo"

    def version(self) -> Command:
        return Command((need_program("rsync", "apt install rsync"), "--version"))

    def backup(self, work: Workspace) -> Command:
        return self._command(work, f"{work.source}/", f"{self._mirror(work)}/")

    def restore(self, work: Workspace, snapshot: str) -> Command:
        return self._command(work, f"{self._mirror(work)}/", f"{work.restore}/")

    def check(self, work: Workspace) -> Command:
        return self._command(work, "--dry-run", f"{self._mirror(work)}/", f"{work.restore}/")

    def pipeline(self, work: Workspace) -> tuple[Command, Command]:
        """The names of the files come from a pipe, as from ``find``."""
        names = (
            f"import os, time\nfor top, _, files in os.walk({work.source!r}):\n"
            f"    for name in files:\n        print(os.path.join(top, name)[len({work.source!r}) + 1:], flush=True)\n"
            "        time.sleep(0.05)"
        )
        return Command((sys.executable, "-c", names)), self._command(
            work, "--files-from=-", work.source, f"{self._mirror(work)}/"
        )

    def drifted(self, work: Workspace) -> Command:
        job = self.backup(work)
        return replace(job, argv=(*job.argv, "--checksum"))


class RsyncDaemon:
    """``rsync --daemon`` of one module."""

    kind: RepositoryType = "rest"
    name = "rsync daemon"

    def available(self) -> None:
        need_program("rsync", "apt install rsync")

    def files(self, state: str) -> Sequence[tuple[str, bytes, int]]:
        return ()

    def command(self, directory: str, state: str, port: int) -> Command:
        settings = f"use chroot = no\nuid = 0\ngid = 0\n[repo]\npath = {directory}\nread only = no\n"
        start = (
            "import os, sys\n"
            f"with open({state!r} + '/rsyncd.conf', 'w') as file: file.write({settings!r})\n"
            "os.execv(sys.argv[1], sys.argv[1:])"
        )
        daemon = ("--daemon", "--no-detach", f"--config={state}/rsyncd.conf", "--address=127.0.0.1")
        program = need_program("rsync", "apt install rsync")
        return Command((sys.executable, "-c", start, program, *daemon, f"--port={port}"))

    def greeting(self) -> bytes | None:
        return b"@RSYNCD:"

    def location(self, port: int) -> Location:
        return Location("rest", "/", host="127.0.0.1", port=port)


class Borg(BorgTarget):
    """borg, also over a bridge."""

    profile = replace(BorgTarget.profile, speaks=("local", "rest"))

    def _command(self, work: Workspace | None, *arguments: str, cwd: str | None = None) -> Command:
        command = super()._command(work, *arguments, cwd=cwd)
        if work is None or work.location.kind == "local":
            return command
        where = work.location
        remote = {
            "BORG_REPO": f"ssh://backup@{where.host}:{where.port}{where.path}",
            "BORG_RSH": f"{sys.executable} {posixpath.join(work.state, 'bridge.py')}",
        }
        return replace(command, env={**command.env, **remote})

    def init(self, work: Workspace) -> Sequence[Command]:
        """The bridge is a file, as borg takes a command apart by itself."""
        write = f"open({work.state!r} + '/bridge.py', 'w').write({_BRIDGE!r})"
        return (Command((sys.executable, "-c", write)), *super().init(work))

    def drifted(self, work: Workspace) -> Command:
        job = self.backup(work)
        program, create, *rest = job.argv
        return replace(job, argv=(program, create, "--compression", "none", *rest))


class BorgServer:
    """A ``borg serve`` for each connection."""

    kind: RepositoryType = "rest"
    name = "borg serve"

    def __init__(self) -> None:
        self._directory = ""

    def available(self) -> None:
        need_program("borg", "apt install borgbackup")

    def files(self, state: str) -> Sequence[tuple[str, bytes, int]]:
        return ()

    def command(self, directory: str, state: str, port: int) -> Command:
        self._directory = directory
        program = need_program("borg", "apt install borgbackup")
        env = {"BORG_BASE_DIR": state}
        return Command((sys.executable, "-IS", "-c", _INETD, str(port), program, "serve", "--umask=077"), env)

    def greeting(self) -> bytes | None:
        return None

    def location(self, port: int) -> Location:
        return Location("rest", posixpath.join(self._directory, "repo"), host="127.0.0.1", port=port)


class Restic(ResticTarget):
    """restic, which drifts to a job without an estimate."""

    def drifted(self, work: Workspace) -> Command:
        job = self.backup(work)
        return replace(job, argv=(*job.argv, "--no-scan"))


TOOLS: dict[str, Callable[[], Target]] = {"restic": Restic, "borg": Borg, "rsync": Rsync}


def server_of(tool: str, kind: RepositoryType) -> Service:
    """What stands behind the link."""
    if tool == "borg":
        return BorgServer()
    return RsyncDaemon() if tool == "rsync" else make_service(kind)
