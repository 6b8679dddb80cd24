"""The entries that backup tools stumble over, one maker for each feature."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence

from .display import display_path
from .entry import describe
from .generate import BROKEN, Builder
from .seeded import rng
from .spec import Feature

Maker = Callable[[Builder], None]
_SECOND = 1_000_000_000
_SETGID_MODE = 0o2775

AWKWARD = (
    b" leading space", b"trailing space ", b"two  spaces", b"-rf", b"--help", b"'single'", b'"double"', b"$HOME",
    b"`id`", b"$(id)", b"*", b"[a-z]?", b"semi;colon", b"a&b|c", b"<tag>", b"#hash", b"~tilde", b"%41percent",
    b"100%", b"a:colon", b"...", b".hidden", b"nul", b"a+b=c,d", b"!bang", b"@at", b"{brace}", b"Case", b"case",
)  # fmt: skip
UNICODE = tuple(
    name.encode()
    for name in (
        "caf\u00e9", "cafe\u0301", "stra\u00dfe", "\u65e5\u672c\u8a9e", "\U0001f525-\U0001f469\u200d\U0001f4bb",
        "\u05e9\u05dc\u05d5\u05dd", "bidi-\u202egnp.exe", "nbsp-\u00a0-x", "zero\u200bwidth", "\ufeffbom",
    )
)  # fmt: skip
NON_UTF8 = (b"latin1-\xe9", b"\xff\xfe", b"cut-\xe2\x82", b"surrogate-\xed\xa0\x80", b"nel-\x85")
CONTROL = (b"new\nline", b"tab\there", b"cr\rname", b"esc\x1b[31mred", b"bell\x07", b"del\x7f", b"\n")
BACKSLASH = (b"back\\slash", b"\\leading", b"trailing\\", b"C:\\temp", b"a\\nb")
LONG = (b"n" * 251 + b".bin", "\u00e9".encode() * 127 + b"x")
_TIMES = (
    ("1971", 31_536_000 * _SECOND + 1),
    ("1980", 315_623_045 * _SECOND + 123_456_789),
    ("whole-second", 1_680_000_000 * _SECOND),
    ("future-2037", 2_140_000_000 * _SECOND + 999_999_999),
    ("future-2040", 2_210_000_000 * _SECOND + 500_000_000),
)


def _named(feature: Feature, names: Sequence[bytes]) -> Maker:
    """Return a maker of one small file for each name; names that the file system refuses are left out."""

    def make(builder: Builder) -> None:
        folder = b"odd/" + feature.value.encode()
        builder.directory(folder)
        for name in names:
            try:
                builder.small(folder + b"/" + name)
            except OSError as exc:
                if exc.errno in BROKEN:
                    raise
                builder.left_out[f"{feature.value}: {display_path(name)}"] = describe(exc, "name refused")

    return make


def _symlinks(builder: Builder) -> None:
    builder.directory(b"odd/symlinks")
    builder.small(b"odd/symlinks/file")
    builder.directory(b"odd/symlinks/folder")
    builder.small(b"odd/symlinks/folder/inside")
    for name, target in (
        (b"relative", b"file"), (b"up-and-down", b"../symlinks/folder/inside"), (b"to-folder", b"folder"),
        (b"to-parent", b".."), (b"dangling", b"no such file"), (b"loop", b"loop"), (b"ring-a", b"ring-b"),
        (b"ring-b", b"ring-a"), (b"absolute-dangling", b"/nonexistent/backupchaos/target"),
        (b"odd-target", b"caf\xc3\xa9 \xff\n'"), (b"long-target", b"x/" * 400),
    ):  # fmt: skip
        builder.symlink(b"odd/symlinks/" + name, target)


def _absolute_symlinks(builder: Builder) -> None:
    builder.directory(b"odd/absolute")
    builder.small(b"odd/absolute/file")
    builder.symlink(b"odd/absolute/link", os.path.abspath(builder.path(b"odd/absolute/file")))


def _hard_links(builder: Builder) -> None:
    builder.directory(b"odd/hard")
    builder.directory(b"odd/hard/other")
    groups = (
        (b"odd/hard/b-three", (b"odd/hard/a-three", b"odd/hard/other/c-three")),
        (b"odd/hard/two", (b"odd/hard/z",)),
    )
    for first, more in groups:
        builder.small(first)
        for name in more:
            os.link(builder.path(first), builder.path(name), follow_symlinks=False)
            builder.counts["hard_links"] += 1
            builder.counts["files"] += 1


def _sparse(builder: Builder) -> None:
    path, size = builder.path(b"odd/sparse"), 1024 * 1024
    builder.file(b"odd/sparse", ())
    source = rng(builder.seed, "sparse")
    fd = os.open(path, os.O_WRONLY | os.O_NOFOLLOW)
    try:
        os.ftruncate(fd, size)  # ends in a hole, and so does its start
        for at in (65_536, 524_288):
            os.pwrite(fd, source.randbytes(4096), at)
    finally:
        os.close(fd)
    builder.stamp(b"odd/sparse")
    builder.counts["size"] += size
    builder.counts["random_bytes"] += 8192
    if os.stat(path).st_blocks * 512 >= size:
        builder.left_out[Feature.SPARSE.value] = "the file system keeps no holes; the file is there, in full"


def _empty_dirs(builder: Builder) -> None:
    for name in (b"", b"/one", b"/nested", b"/nested/inner"):
        builder.directory(b"odd/empty" + name)


def _modes(builder: Builder) -> None:
    builder.directory(b"odd/modes")
    for mode in (0o400, 0o444, 0o500, 0o600, 0o660, 0o666, 0o755, 0o777):
        builder.small(b"odd/modes/file-%o" % mode, mode)
    for mode in (0o500, 0o555, 0o700, 0o777, 0o1777):
        builder.directory(b"odd/modes/dir-%o" % mode, mode)
        builder.small(b"odd/modes/dir-%o/inside" % mode)


def _setgid(builder: Builder) -> None:
    builder.directory(b"odd/setgid")
    builder.small(b"odd/setgid/inside")
    path = builder.path(b"odd/setgid")
    os.chmod(path, _SETGID_MODE)
    if not os.stat(path).st_mode & stat.S_ISGID:
        builder.left_out[Feature.SETGID.value] = "the bit was dropped: the directory's group is not ours"


def _xattrs(builder: Builder) -> None:
    builder.directory(b"odd/xattrs")
    builder.small(b"odd/xattrs/file")
    values = {
        "user.text": b"value",
        "user.binary": b"\0\xff\n",
        "user.empty": b"",
        "user.long": b"long " * 60,
    }
    for name, value in values.items():
        os.setxattr(builder.path(b"odd/xattrs/file"), name, value)
    os.setxattr(builder.path(b"odd/xattrs"), "user.folder", b"of a directory")


def _deep_dir(builder: Builder) -> None:
    path = b"odd/deep"
    builder.directory(path)
    for level in range(40):
        path += b"/level-%02d" % level
        builder.directory(path)
    builder.small(path + b"/bottom")


def _odd_mtimes(builder: Builder) -> None:
    builder.directory(b"odd/mtimes")
    for label, when in _TIMES:
        relative = b"odd/mtimes/" + label.encode()
        builder.small(relative, mtime_ns=when)
        if abs(os.stat(builder.path(relative)).st_mtime_ns - when) >= _SECOND:
            builder.left_out[f"{Feature.ODD_MTIMES.value}: {label}"] = (
                "the file system does not keep this time"
            )


def _special(builder: Builder) -> None:
    path = builder.path(b"odd/fifo")
    os.mkfifo(path, 0o600)
    os.chmod(path, 0o640)
    builder.stamp(b"odd/fifo")
    builder.counts["specials"] += 1


MAKERS: dict[Feature, Maker] = {
    Feature.AWKWARD_NAMES: _named(Feature.AWKWARD_NAMES, AWKWARD),
    Feature.UNICODE_NAMES: _named(Feature.UNICODE_NAMES, UNICODE),
    Feature.NON_UTF8_NAMES: _named(Feature.NON_UTF8_NAMES, NON_UTF8),
    Feature.CONTROL_NAMES: _named(Feature.CONTROL_NAMES, CONTROL),
    Feature.BACKSLASH_NAMES: _named(Feature.BACKSLASH_NAMES, BACKSLASH),
    Feature.LONG_NAMES: _named(Feature.LONG_NAMES, LONG),
    Feature.SYMLINKS: _symlinks,
    Feature.ABSOLUTE_SYMLINKS: _absolute_symlinks,
    Feature.HARD_LINKS: _hard_links,
    Feature.SPARSE: _sparse,
    Feature.EMPTY_DIRS: _empty_dirs,
    Feature.MODES: _modes,
    Feature.SETGID: _setgid,
    Feature.XATTRS: _xattrs,
    Feature.DEEP_DIR: _deep_dir,
    Feature.ODD_MTIMES: _odd_mtimes,
    Feature.SPECIAL: _special,
}
