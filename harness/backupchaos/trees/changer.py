"""The single changes that a round is made of."""

from __future__ import annotations

import os
import random
import stat
from typing import Any

from .display import display_path
from .entry import TreeError
from .seeded import Seed, past_time, random_bytes, rng, write_all, write_file

INSIDE = b"was-a-file"  # the file in a directory that stands where a file was
LISTED = (
    "new",
    "edited",
    "grown",
    "truncated",
    "deleted",
    "mode_changed",
    "file_to_dir",
    "dir_to_file",
    "touched",
)
_REWRITE = 64 * 1024  # bytes changed within a file whose size stays
_MODES = (0o600, 0o640, 0o644, 0o755)
_FOLDER_MODE = 0o755


class Changer:
    """Carries out one round of changes; every random choice comes from (seed, round, path)."""

    def __init__(self, root: bytes, seed: Seed, number: int) -> None:
        self.root, self.seed, self.number = root, seed, number
        self.done: dict[str, list[Any]] = {kind: [] for kind in (*LISTED, "renamed")}
        self.new_bytes = 0
        self.written = 0
        self.dirty: set[bytes] = set()

    def rng(self, *parts: bytes | str | int) -> random.Random:
        """Return the generator of one decision."""
        return rng(self.seed, "change", self.number, *parts)

    def path(self, relative: bytes) -> bytes:
        """Return where a path of the tree lies."""
        return self.root + b"/" + relative

    def parent_changes(self, relative: bytes) -> None:
        """Note that the directory of a path gets a new time."""
        self.dirty.add(relative.rpartition(b"/")[0])

    def later(self, relative: bytes, st: os.stat_result) -> int:
        """Return a time at least an hour after the file's own: tools may look at whole seconds only."""
        return (
            st.st_mtime_ns
            + 3_600_000_000_000
            + self.rng("later", relative).randrange(30 * 86_400_000_000_000)
        )

    def create(self, relative: bytes, size: int) -> None:
        """Make a file of random bytes."""
        source = self.rng("new", relative)
        size = write_file(self.path(relative), random_bytes(source, size), 0o644, past_time(source))
        self.new_bytes += size
        self.written += size
        self.done["new"].append(relative)
        self.parent_changes(relative)

    def edit(self, kind: str, relative: bytes, st: os.stat_result) -> None:
        """Change the content in place, and the time with it."""
        source = self.rng(kind, relative)
        fd = os.open(self.path(relative), (os.O_RDWR if kind == "edited" else os.O_WRONLY) | os.O_NOFOLLOW)
        try:
            if kind == "edited":
                self.written += _rewrite(fd, source, st.st_size)
            elif kind == "grown":
                os.lseek(fd, 0, os.SEEK_END)
                self.written += write_all(fd, random_bytes(source, source.randrange(1, 65_536)))
            else:
                os.ftruncate(fd, source.randrange(st.st_size))
            when = self.later(relative, st)
            os.fchmod(fd, stat.S_IMODE(st.st_mode))
            os.utime(fd, ns=(when, when))
        finally:
            os.close(fd)
        self.done[kind].append(relative)

    def delete(self, relative: bytes) -> None:
        """Remove a file."""
        os.unlink(self.path(relative))
        self.done["deleted"].append(relative)
        self.parent_changes(relative)

    def rename(self, relative: bytes, places: list[bytes]) -> None:
        """Move a file to another name, often in another directory."""
        source = self.rng("rename", relative)
        number = len(self.done["renamed"])
        place = source.choice(places)
        new = (place + b"/" if place else b"") + f"renamed-r{self.number}-{number:04d}".encode()
        if os.path.lexists(self.path(new)):
            raise TreeError(f"{display_path(new)} is there already: round {self.number} was applied before")
        os.rename(self.path(relative), self.path(new))
        self.done["renamed"].append((relative, new))
        self.parent_changes(relative)
        self.parent_changes(new)

    def change_mode(self, relative: bytes, st: os.stat_result) -> None:
        """Change the mode and nothing else."""
        mode = self.rng("mode", relative).choice([m for m in _MODES if m != stat.S_IMODE(st.st_mode)])
        os.chmod(self.path(relative), mode)
        self.done["mode_changed"].append(relative)

    def touch(self, relative: bytes, st: os.stat_result) -> None:
        """Change the time and nothing else."""
        when = self.later(relative, st)
        os.utime(self.path(relative), ns=(when, when), follow_symlinks=False)
        self.done["touched"].append(relative)

    def file_to_dir(self, relative: bytes) -> None:
        """Put a directory with a file in it where a file was."""
        os.unlink(self.path(relative))
        os.mkdir(self.path(relative), 0o700)
        os.chmod(self.path(relative), _FOLDER_MODE)
        self.done["file_to_dir"].append(relative)
        self.create(relative + b"/" + INSIDE, self.rng("inside", relative).randrange(1, 2000))
        self.parent_changes(relative)

    def dir_to_file(self, relative: bytes) -> None:
        """Put a file where a directory was: an empty one, or one of `file_to_dir`."""
        for name in os.listdir(self.path(relative)):
            self.delete(relative + b"/" + name)
        os.rmdir(self.path(relative))  # noqa: PTH106 - a path of bytes
        self.dirty.discard(relative)
        source = self.rng("back", relative)
        size = source.randrange(1, 2000)
        self.written += write_file(self.path(relative), random_bytes(source, size), 0o644, past_time(source))
        self.done["dir_to_file"].append(relative)
        self.parent_changes(relative)

    def finish(self) -> None:
        """Give every directory whose entries changed a time that comes from the seed."""
        for relative in self.dirty:
            when = past_time(self.rng("directory", relative))
            os.utime(self.path(relative) if relative else self.root, ns=(when, when))


def _rewrite(fd: int, source: random.Random, size: int) -> int:
    """Write other bytes over a part of a file whose size stays; return how many."""
    count = min(size, _REWRITE)
    at = source.randrange(size - count + 1)
    before = os.pread(fd, count, at)
    after = bytearray(source.randbytes(count))
    if after[:1] == before[:1]:
        after[0] ^= 0xFF  # a short file could be given the very bytes that it has
    os.pwrite(fd, after, at)
    return count
