"""Building a source tree from a seed: the same seed gives the same tree, byte for byte and time for time."""

from __future__ import annotations

import errno
import os
import random
import stat
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from .display import display_path
from .entry import TreeError, describe, plain
from .manifest import PathLike
from .seeded import WORDS, Seed, Text, failed, past_time, random_bytes, rng, write_file
from .spec import Feature, SourceSpec

MIB = 1024 * 1024
BROKEN = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.ENOENT}
)  # never "not supported"
_FILES_PER_DIRECTORY = 25
_ROOT_MODE = 0o755
_SUFFIXES = (".txt", ".log", ".jpg", ".db", ".csv", "", ".tar.gz", ".py")
_MODES = (0o644,) * 6 + (0o600, 0o640, 0o755, 0o664)
_DIRECTORY_MODES = (0o755,) * 6 + (0o700, 0o750)


@dataclass(frozen=True, slots=True)
class BuildSummary:
    """What was made. ``files`` counts paths, so a hard link counts once more; ``size`` is in bytes.

    ``random_bytes`` cannot be compressed. ``left_out`` maps what could not be made (a feature, or
    ``feature: name``) to the reason. ``mtime_granularity_ns`` is what the file system keeps of a
    time.
    """

    files: int
    directories: int
    symlinks: int
    hard_links: int
    specials: int
    size: int
    random_bytes: int
    largest: int
    features: tuple[str, ...]
    left_out: Mapping[str, str]
    mtime_granularity_ns: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return asdict(self)


@dataclass(slots=True)
class Builder:
    """Makes entries below a root and keeps count. Directory times are set at the end, deepest first."""

    root: bytes
    seed: Seed
    counts: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(
            ("files", "directories", "symlinks", "hard_links", "specials", "size", "random_bytes", "largest"),
            0,
        )
    )
    left_out: dict[str, str] = field(default_factory=dict)
    _directories: list[tuple[bytes, int, int]] = field(default_factory=list)

    def path(self, relative: bytes) -> bytes:
        """Return where a path of the tree lies."""
        return self.root + b"/" + relative

    def directory(self, relative: bytes, mode: int = 0o755) -> None:
        """Make a directory; it gets its mode and time once everything in it is made."""
        path = self.path(relative)
        os.mkdir(path, 0o700)
        os.chmod(path, 0o700)  # a hostile umask may have locked us out
        self.counts["directories"] += 1
        self._directories.append((path, mode, past_time(rng(self.seed, "directory", relative))))

    def file(
        self, relative: bytes, chunks: Iterable[bytes], mode: int = 0o644, mtime_ns: int | None = None
    ) -> int:
        """Make a file, by default with a time of 2023 that its path decides; return its size."""
        if mtime_ns is None:
            mtime_ns = past_time(rng(self.seed, "time", relative))
        size = write_file(self.path(relative), chunks, mode, mtime_ns)
        self.counts["files"] += 1
        self.counts["size"] += size
        self.counts["largest"] = max(self.counts["largest"], size)
        return size

    def small(self, relative: bytes, mode: int = 0o644, mtime_ns: int | None = None) -> int:
        """Make a file of a few random bytes."""
        source = rng(self.seed, "small", relative)
        content = source.randbytes(source.randrange(40, 400))
        size = self.file(relative, (content,), mode, mtime_ns)
        self.counts["random_bytes"] += size
        return size

    def symlink(self, relative: bytes, target: bytes) -> None:
        """Make a symlink with a time of its own."""
        os.symlink(target, self.path(relative))
        self.stamp(relative)
        self.counts["symlinks"] += 1

    def stamp(self, relative: bytes) -> None:
        """Give a path that is no regular file its time."""
        when = past_time(rng(self.seed, "time", relative))
        os.utime(self.path(relative), ns=(when, when), follow_symlinks=False)

    def finish(self) -> None:
        """Set modes and times of directories, innermost first, and the root's time."""
        for path, mode, when in reversed(self._directories):
            if stat.S_IMODE(os.stat(path).st_mode) == 0o700:  # a feature may have set its own
                os.chmod(path, mode)
            os.utime(path, ns=(when, when))
        when = past_time(rng(self.seed, "directory", b""))
        os.utime(self.root, ns=(when, when))


def plan_sizes(source: random.Random, files: int, total: int) -> list[int]:
    """Return sizes in bytes that add up to ``total``: many small, some empty, few large.

    From 6 MiB on one file is larger than 4 MiB, so that tools which split files have to.
    """
    if files == 0:
        return []
    empty = max(1, files // 20) if files >= 3 else 0
    rest = files - empty
    sizes = [0] * empty
    if total >= 6 * MIB and rest >= 2:
        big = 4 * MIB + 1 + source.randrange(total // 8)
        sizes.append(big)
        total -= big
        rest -= 1
    weights = [source.lognormvariate(0.0, 1.8) for _ in range(rest)]
    scale = total / sum(weights)
    tail = sorted(int(weight * scale) for weight in weights)
    tail[-1] += total - sum(tail)
    sizes += tail
    source.shuffle(sizes)
    return sizes


def build(root: PathLike, spec: SourceSpec, seed: Seed) -> BuildSummary:
    """Make the tree at ``root``, which must be empty or not there yet, and say what was made.

    Deterministic in seed and spec, apart from the owner; independent of the umask. What the file
    system does not carry is left out with the reason. Raises `TreeError` if the root is in use, or
    when the bulk of the tree cannot be written.
    """
    from .features import MAKERS

    place = plain(root)
    try:
        if not os.path.lexists(place):
            os.makedirs(place)
            os.chmod(place, _ROOT_MODE)
        if os.path.islink(place) or os.listdir(place):
            raise TreeError(f"cannot build in {display_path(place)}: it must be an empty directory")
        # Always: this also ends an inherited setgid bit, which would decide the groups of all below.
        os.chmod(place, _ROOT_MODE)
        builder = Builder(place, seed)
        _bulk(builder, spec)
    except OSError as exc:
        raise failed("build the source tree in", place, exc) from exc
    granularity = _granularity(place)
    chosen = [feature for feature in Feature if feature in spec.features]
    if chosen:
        builder.directory(b"odd")
    for feature in chosen:
        try:
            MAKERS[feature](builder)
        except OSError as exc:
            if exc.errno in BROKEN:
                raise failed("build the source tree in", place, exc) from exc
            builder.left_out[feature.value] = describe(exc, "not supported here")
    try:
        builder.finish()
    except OSError as exc:
        raise failed("finish the source tree in", place, exc) from exc
    made = tuple(feature.value for feature in chosen if feature.value not in builder.left_out)
    return BuildSummary(
        **builder.counts, features=made, left_out=dict(builder.left_out), mtime_granularity_ns=granularity
    )


def _bulk(builder: Builder, spec: SourceSpec) -> None:
    source = rng(builder.seed, "bulk")
    builder.directory(b"data")
    text = Text(builder.seed)
    plain_modes = Feature.MODES not in spec.features
    places = _directories(builder, spec, source, plain_modes)
    for number, size in enumerate(plan_sizes(source, spec.files, spec.size)):
        name = f"{source.choice(WORDS)}-{number:05d}{source.choice(_SUFFIXES)}"
        relative = source.choice(places) + b"/" + name.encode()
        own = rng(builder.seed, relative)
        when = past_time(own)
        mode = 0o644 if plain_modes else own.choice(_MODES)
        hard = round(size * spec.incompressible)
        builder.counts["random_bytes"] += hard
        builder.file(relative, _mixed(own, text, hard, size - hard), mode, when)


def _mixed(source: random.Random, text: Text, hard: int, soft: int) -> Iterable[bytes]:
    if source.random() < 0.5:
        yield from random_bytes(source, hard)
        yield from text.cut(source, soft)
    else:
        yield from text.cut(source, soft)
        yield from random_bytes(source, hard)


def _directories(builder: Builder, spec: SourceSpec, source: random.Random, plain_modes: bool) -> list[bytes]:
    places = [b"data"]
    for number in range(spec.files // _FILES_PER_DIRECTORY + spec.depth if spec.depth else 0):
        # The first few make one chain, so that the depth asked for is reached.
        parent = places[-1] if number < spec.depth else source.choice(places)
        if parent.count(b"/") >= spec.depth:
            parent = b"data"
        relative = parent + f"/{source.choice(WORDS)}-{number:04d}".encode()
        builder.directory(relative, 0o755 if plain_modes else source.choice(_DIRECTORY_MODES))
        places.append(relative)
    return places


def _granularity(place: bytes) -> int:
    """Return the coarsest power of ten, in ns, that the file system rounds times to."""
    probe = 1_700_000_000_123_456_789
    os.utime(place, ns=(probe, probe))
    lost = abs(probe - os.stat(place).st_mtime_ns)
    step = 1
    while step <= lost:
        step *= 10
    return step
