"""What the tests of the reference service share: running it, and odd trees."""

from __future__ import annotations

import contextlib
import io
import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from backupchaos_reference import cli

PREFIX = "BACKUPCHAOS_REFERENCE_"


@dataclass(frozen=True)
class Result:
    """What one command did."""

    code: int
    stdout: str
    log: bytes

    @property
    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.splitlines()]

    def events(self, event: str) -> list[dict[str, Any]]:
        return [record for record in self.records if record["event"] == event]

    @property
    def states(self) -> list[str]:
        return [record["to"] for record in self.events("state")]

    @property
    def errors(self) -> list[dict[str, Any]]:
        return self.events("error")


@dataclass
class Service:
    """The service with its folders; commands run in this process unless `spawn` is used."""

    root: Path
    url: str = ""
    env: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.source.mkdir(exist_ok=True)
        self.url = self.url or str(self.repo)

    @property
    def source(self) -> Path:
        return self.root / "source"

    @property
    def repo(self) -> Path:
        return self.root / "repo"

    @property
    def state(self) -> Path:
        return self.root / "state.db"

    def environ(self, misbehave: str = "") -> dict[str, str]:
        return {
            PREFIX + "PASSWORD": "correct horse",
            PREFIX + "SCRYPT_N": "1024",
            PREFIX + "CHUNK_SIZE": "4096",
            PREFIX + "RETRY_BASE": "0.01s",
            PREFIX + "MISBEHAVE": misbehave,
            **self.env,
        }

    def run(self, *arguments: str, misbehave: str = "") -> Result:
        error = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
        output = io.StringIO()
        with (
            mock.patch.dict(os.environ, self.environ(misbehave)),
            contextlib.redirect_stderr(error),
            contextlib.redirect_stdout(output),
        ):
            code = cli.main(self.arguments(*arguments))
        assert isinstance(error.buffer, io.BytesIO)
        return Result(code, output.getvalue(), error.buffer.getvalue())

    def arguments(self, *arguments: str) -> list[str]:
        command, *rest = arguments
        if command == "misbehaviours":
            return [command, *rest]
        where = ["--state", str(self.state)] if command in ("backup", "status") else []
        repo = [] if command == "status" else ["--repo", self.url]
        source = ["--source", str(self.source)] if command == "backup" else []
        return [command, *repo, *where, *source, *rest]

    def spawn(self, *arguments: str, misbehave: str = "") -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "backupchaos_reference", *self.arguments(*arguments)],
            env={**os.environ, **self.environ(misbehave)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def ready(self) -> Service:
        assert self.run("init").code == 0
        return self

    def backup(self, *arguments: str, misbehave: str = "") -> Result:
        return self.run("backup", *arguments, misbehave=misbehave)

    def snapshots(self) -> list[str]:
        result = self.run("snapshots", "--json")
        assert result.code == 0, result.log
        return [entry["id"] for entry in json.loads(result.stdout)["snapshots"]]

    def jobs(self) -> list[dict[str, Any]]:
        jobs: list[dict[str, Any]] = json.loads(self.run("status", "--json").stdout)["jobs"]
        return jobs

    def restored(self, snapshot: str = "latest") -> dict[bytes, tuple[Any, ...]]:
        """Restore and describe; every call into a new folder."""
        target = self.root / f"restored-{len(list(self.root.iterdir()))}"
        result = self.run("restore", snapshot, "--target", str(target))
        assert result.code == 0, result.log
        return describe(target)


def describe(root: Path) -> dict[bytes, tuple[Any, ...]]:
    """Everything that a backup must keep, path by path; inode groups by their first name."""
    found: dict[bytes, tuple[Any, ...]] = {}
    groups: dict[tuple[int, int], bytes] = {}
    base = os.fsencode(root)
    paths = [base]
    for folder, folders, files in os.walk(base):
        paths += [os.path.join(folder, name) for name in folders + files]
    for path in sorted(paths):
        status = os.lstat(path)
        kind = stat.S_IFMT(status.st_mode)
        relative = os.path.relpath(path, base)
        content: object = None
        if kind == stat.S_IFREG:
            with open(path, "rb") as file:
                content = file.read()
        elif kind == stat.S_IFLNK:
            content = os.readlink(path)
        group = None
        if kind != stat.S_IFDIR and status.st_nlink > 1:
            group = groups.setdefault((status.st_dev, status.st_ino), relative)
        xattrs = {
            name: os.getxattr(path, name, follow_symlinks=False)
            for name in os.listxattr(path, follow_symlinks=False)
        }
        owner = (status.st_uid, status.st_gid)
        found[relative] = (oct(status.st_mode), owner, status.st_mtime_ns, content, group, xattrs)
    return found


def odd_tree(root: Path) -> None:
    """A tree with everything that simple backups lose."""
    base = os.fsencode(root)
    (root / "plain").write_bytes(b"plain\n")
    (root / "empty").touch()
    (root / "big").write_bytes(os.urandom(30_000))
    (root / "folder" / "empty folder").mkdir(parents=True)
    (root / "folder" / "deep").write_text("deep")
    with open(os.path.join(base, b"caf\xe9 \n\xff"), "wb") as file:
        file.write(b"odd name")
    os.link(root / "plain", root / "folder" / "hard link")
    os.symlink("plain", root / "link")
    os.symlink(b"nowhere/\xfe", os.path.join(base, b"broken link"))
    os.mkfifo(root / "fifo", 0o640)
    with open(root / "sparse", "wb") as file:
        file.truncate(3_000_000)
        file.seek(1_000_000)
        file.write(b"island")
    (root / "mode").write_text("mode")
    os.setxattr(root / "mode", "user.colour", b"\x00blue\xff")
    os.setxattr(root / "folder", "user.kind", b"directory")
    os.chmod(root / "mode", 0o4711)
    os.chmod(root / "folder", 0o2750)
    for path in sorted(root.rglob("*"), reverse=True):
        os.utime(path, ns=(10**9, 1_234_567_890_123_456_789), follow_symlinks=False)
    os.utime(root, ns=(10**9, 987_654_321_000_000_001))


@contextlib.contextmanager
def killed_at_end(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """Whatever the test did, this child is gone afterwards."""
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()
