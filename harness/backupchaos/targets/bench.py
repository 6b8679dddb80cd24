"""A bench without a sandbox: directories, perhaps a server, and real runs of an adapter's commands.

For the conformance suite and for trying out a new adapter; it injects nothing and isolates little.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from backupchaos.commands import Command, Completed
from backupchaos.errors import HarnessBroken, MissingCapability
from backupchaos.services.base import Furnished, Service
from backupchaos.services.health import serves
from backupchaos.services.registry import service_for
from backupchaos.targets.base import Location, RepositoryType, Workspace

_STARTUP_S = 15.0
_PASSWORD = "correct horse battery staple"  # noqa: S105 - of repositories that live for one test
_WITHOUT_OVERRIDE = ("setpriv", "--inh-caps=-all", "--bounding-set=-dac_override,-dac_read_search")


def environment(root: Path, command: Command) -> dict[str, str]:
    """What the sandbox would set, plus what the command brings; nothing of the caller's own but PATH."""
    home = root / "home"
    ours = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(home),
        "TMPDIR": str(root / "temp"),
        "LANG": "C.UTF-8",
        "XDG_CACHE_HOME": str(home / ".cache"),
        "XDG_CONFIG_HOME": str(home / ".config"),
        "XDG_DATA_HOME": str(home / ".local/share"),
        "XDG_STATE_HOME": str(home / ".local/state"),
    }
    return {**ours, **command.env}


def without_override(command: Command) -> Command:
    """The command as root without the right to ignore permissions; unchanged for other users.

    Raises ``MissingCapability`` for root without ``setpriv``.
    """
    if os.geteuid() != 0:
        return command
    if shutil.which("setpriv") is None:
        raise MissingCapability("setpriv", "root reads everything", "apt install util-linux")
    return Command(
        (*_WITHOUT_OVERRIDE, *command.argv), command.env, command.cwd, command.stdin, command.secrets
    )


def run(command: Command, root: Path, deadline: float = 120.0) -> Completed:
    """Run the command to its end; after ``deadline`` seconds its process group is killed."""
    start = time.monotonic()
    # Files, not pipes: a grandchild that keeps a pipe open must not keep us waiting.
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, tempfile.TemporaryFile() as given:
        given.write(command.stdin)
        given.seek(0)
        process = subprocess.Popen(
            command.argv,
            env=environment(root, command),
            cwd=command.cwd or root / "cwd",
            stdin=given,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
        timed_out = False
        try:
            process.wait(deadline)
        except subprocess.TimeoutExpired:
            timed_out = True
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode("utf-8", "backslashreplace"))
    return Completed(command, process.returncode, texts[0], texts[1], time.monotonic() - start, timed_out)


@dataclass
class Bench:
    """One workspace below ``root``, and a way to run commands in it."""

    root: Path
    work: Workspace
    run: Callable[[Command], Completed]

    @property
    def source(self) -> Path:
        """The tree that is backed up."""
        return Path(self.work.source)

    @property
    def repository(self) -> Path:
        """Where the repository's bytes are on this machine, also behind a server."""
        return self.root / "repository"

    def empty_restore(self) -> None:
        """Make the restore directory anew."""
        _remove(Path(self.work.restore))
        Path(self.work.restore).mkdir()


def _remove(path: Path) -> None:
    """Remove a tree whose directories may be read-only."""
    for folder, _, _ in os.walk(path):
        os.chmod(folder, 0o700)
    shutil.rmtree(path, ignore_errors=True)


def free_port() -> int:
    """A TCP port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running_service(service: Service, root: Path) -> Iterator[Location]:
    """Serve ``root/repository`` while the block runs. Raises ``HarnessBroken`` if it does not come up."""
    state, served, port = root / "service", root / "repository", free_port()
    state.mkdir(exist_ok=True)
    for path, content, mode in service.files(str(state)):
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
            file.write(content)
    for folder in service.folders(str(served)) if isinstance(service, Furnished) else ():
        Path(folder).mkdir(exist_ok=True)
    command = service.command(str(served), str(state), port)
    # It must not outlive us, even if we are killed.
    bound = ("setpriv", "--pdeathsig", "KILL") if shutil.which("setpriv") else ()
    with open(state / "log", "wb") as log:
        process = subprocess.Popen(
            (*bound, *command.argv),
            env=environment(root, command),
            cwd=state,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            _await(service, process, port, state / "log")
            yield service.location(port)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _await(service: Service, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    end = time.monotonic() + _STARTUP_S
    while process.poll() is None and time.monotonic() < end:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
                if serves(service, connection):
                    return
        except OSError:
            pass
        time.sleep(0.02)  # nobody listens or serves yet, and nothing tells when somebody does
    raise HarnessBroken(f"{service.name} does not answer: {log.read_text('utf-8', 'replace')[-500:]}")


@contextmanager
def bench(root: Path, kind: RepositoryType, prefer: str | None = None) -> Iterator[Bench]:
    """A workspace below ``root`` (an empty directory) with a repository of this kind.

    Raises ``MissingCapability`` where the server for it is not installed.
    """
    for name in ("source", "repository", "cache", "temp", "state", "restore", "home", "cwd"):
        (root / name).mkdir()

    def workspace(location: Location) -> Workspace:
        source, cache, temp, state, restore = (
            str(root / name) for name in ("source", "cache", "temp", "state", "restore")
        )
        return Workspace(source, location, cache, temp, state, restore, _PASSWORD)

    def execute(command: Command) -> Completed:
        return run(command, root)

    try:
        if kind == "local":
            yield Bench(root, workspace(Location("local", str(root / "repository"))), execute)
        else:
            with running_service(service_for(kind, prefer), root) as location:
                yield Bench(root, workspace(location), execute)
    finally:
        for name in ("source", "restore"):
            _remove(root / name)
