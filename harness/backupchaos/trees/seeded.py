"""Everything random in a tree comes from a seed and a path, never from a global generator."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Iterable, Iterator

from .display import display_path
from .entry import TreeError, describe

Seed = int | str
BASE_NS = 1_672_531_200_000_000_000  # 2023-01-01: all ordinary times lie in the year after it
YEAR_NS = 365 * 86_400 * 1_000_000_000
_CHUNK = 256 * 1024
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
WORDS = tuple(
    """
    alpha archive backup budget copy cover delta draft east entry final folder garden ghost harbor index
    item journal keep ledger letter market memo north note order paper photo plan quartz quote record
    report river sales scan stone table trace update valley video west window xylem yearly zebra
    """.split()  # noqa: SIM905 - forty quoted words are harder to read
)


def rng(seed: Seed, *parts: bytes | str | int) -> random.Random:
    """Return a generator of its own for a seed and anything that names a place."""
    digest = hashlib.blake2b(str(seed).encode("utf-8", "surrogateescape"), digest_size=16)
    for part in parts:
        raw = part if isinstance(part, bytes) else str(part).encode()
        digest.update(len(raw).to_bytes(8, "big") + raw)
    return random.Random(int.from_bytes(digest.digest(), "big"))


def past_time(source: random.Random) -> int:
    """Return a time of 2023 in nanoseconds."""
    return BASE_NS + source.randrange(YEAR_NS)


def random_bytes(source: random.Random, size: int) -> Iterator[bytes]:
    """Yield ``size`` bytes that no tool can compress, in pieces."""
    while size > 0:
        piece = min(size, _CHUNK)
        yield source.randbytes(piece)
        size -= piece


class Text:
    """Compressible content: one text per seed, of which files are cut."""

    def __init__(self, seed: Seed) -> None:
        source = rng(seed, "text")
        self._text = " ".join(source.choices(WORDS, k=12_000)).encode()

    def cut(self, source: random.Random, size: int) -> Iterator[bytes]:
        """Yield ``size`` bytes of text from a random place on, in pieces."""
        at = source.randrange(len(self._text))
        while size > 0:
            piece = self._text[at : at + size]
            yield piece
            size -= len(piece)
            at = 0


def write_all(fd: int, chunks: Iterable[bytes]) -> int:
    """Write every byte of every chunk and return how many they were."""
    count = 0
    for chunk in chunks:
        view = memoryview(chunk)
        while view:
            view = view[os.write(fd, view) :]
        count += len(chunk)
    return count


def write_file(path: bytes, chunks: Iterable[bytes], mode: int, mtime_ns: int) -> int:
    """Make a new file with exactly this mode (whatever the umask) and time; return its size in bytes."""
    fd = os.open(path, _NEW_FILE, 0o600)
    try:
        count = write_all(fd, chunks)
        os.fchmod(fd, mode)
        os.utime(fd, ns=(mtime_ns, mtime_ns))
    finally:
        os.close(fd)
    return count


def failed(action: str, path: bytes, exc: OSError) -> TreeError:
    """Return the error to raise when a tree cannot be made or changed as asked."""
    return TreeError(f"cannot {action} {display_path(path)}: {describe(exc, 'system call')} ({exc.strerror})")
