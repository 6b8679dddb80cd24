"""What a generated source tree is to hold."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from .entry import TreeError


class Feature(StrEnum):
    """Something that backup tools get wrong; each adds a few small entries below ``odd/``."""

    AWKWARD_NAMES = "awkward_names"  # spaces, quotes, leading dash, shell and glob characters, case pairs
    UNICODE_NAMES = "unicode_names"  # NFC and NFD of one name, right to left, emoji, bidi controls
    NON_UTF8_NAMES = "non_utf8_names"
    CONTROL_NAMES = "control_names"  # newline, tab, escape sequences
    BACKSLASH_NAMES = "backslash_names"
    LONG_NAMES = "long_names"  # 255 bytes
    SYMLINKS = "symlinks"  # relative, dangling, loop, to a directory, absolute to nowhere
    ABSOLUTE_SYMLINKS = "absolute_symlinks"  # absolute, inside the root
    HARD_LINKS = "hard_links"
    SPARSE = "sparse"
    EMPTY_DIRS = "empty_dirs"
    MODES = "modes"  # read-only files and directories, executables, sticky
    SETGID = "setgid"
    XATTRS = "xattrs"
    DEEP_DIR = "deep_dir"
    ODD_MTIMES = "odd_mtimes"  # old, future, beyond 2038, with nanoseconds
    SPECIAL = "special"  # a FIFO


DEFAULT_FEATURES = frozenset(Feature) - {Feature.SPECIAL, Feature.ABSOLUTE_SYMLINKS}
"""All but FIFOs, and but links that hold the root's own path: with them a tree depends on where it is."""
PORTABLE_FEATURES = frozenset(
    {Feature.AWKWARD_NAMES, Feature.UNICODE_NAMES, Feature.DEEP_DIR, Feature.ODD_MTIMES, Feature.MODES}
)
"""What protocols of named objects (S3, WebDAV) can carry: no links, no undecodable names."""


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """A source tree: ``files`` regular files below ``data/`` of ``size`` bytes in all, plus the features.

    ``depth`` is the greatest number of directories above a file within ``data/``; ``incompressible``
    the share (0..1) of random bytes in each file, the rest being text. Features may be given by
    name. Raises `TreeError` for values out of range and for unknown features.
    """

    files: int = 200
    size: int = 16 * 1024 * 1024
    depth: int = 4
    features: frozenset[Feature] = DEFAULT_FEATURES
    incompressible: float = 0.5

    def __post_init__(self) -> None:
        if self.files < 0 or self.size < 0:
            raise TreeError(f"source: files ({self.files}) and size ({self.size}) must be 0 or more")
        if self.files == 0 and self.size > 0:
            raise TreeError(
                f"source: {self.size} bytes need at least one file; set files to 1 or more, or size to 0"
            )
        if not 0 <= self.depth <= 64:
            raise TreeError(f"source: depth must be 0..64, not {self.depth}")
        if not 0.0 <= self.incompressible <= 1.0:
            raise TreeError(f"source: incompressible must be 0..1, not {self.incompressible}")
        object.__setattr__(self, "features", _features(self.features))


def _features(names: Iterable[str]) -> frozenset[Feature]:
    chosen = set()
    for name in names:
        try:
            chosen.add(Feature(name))
        except ValueError:
            known = ", ".join(feature.value for feature in Feature)
            raise TreeError(f"source: unknown feature {name!r}; known are {known}") from None
    return frozenset(chosen)
