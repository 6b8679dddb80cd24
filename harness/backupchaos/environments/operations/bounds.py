"""The blast radius of operations: whatever may change a file names one that the sandbox made.

Mounts are the wall; this is the second one, for the day on which the first has a hole, and for plain
sandboxes, which have no first. Every text argument that looks like a path is checked, unless the
operation is known only to look there: a new operation is bounded before anybody thinks of it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

LOOKS: Mapping[str, frozenset[str]] = {
    "stat": frozenset({"path"}),
    "digest": frozenset({"path"}),
    "list_files": frozenset({"root"}),
    "read_since": frozenset({"root"}),
    "keeps_access_times": frozenset({"path"}),
    "read_file": frozenset({"path"}),
    "disk_usage": frozenset({"root"}),
    "pick_files": frozenset({"root"}),
    "scan_tree": frozenset({"root"}),
    "copy_tree": frozenset({"source"}),
    "export_tar": frozenset({"path"}),
}
"""Operation -> its parameters that name what is only read."""
_PATHS = frozenset({"path", "root", "source", "destination", "other", "out", "target"})
"""Parameters whose value is a path whatever it looks like."""
_WORDS = frozenset({"text", "base64", "seed", "glob", "pick", "how"})
"""Parameters whose value is never a path, even if it begins with a slash."""


class OutOfBounds(Exception):
    """An operation was asked to change what the sandbox did not make; the message names both."""


def check(name: str, arguments: Mapping[str, Any], roots: Sequence[str]) -> None:
    """Raise ``OutOfBounds`` unless everything that this call may change lies below one of ``roots``.

    ``roots`` are real paths. A path is judged by where its parent really is, and if it is a symbolic
    link, by where that leads too: it is not known here whether the operation follows it.
    """
    for key, path in _changed(name, arguments):
        if not path.startswith("/"):
            raise OutOfBounds(f"{name}: {key} must be an absolute path, not {path!r}")
        for place in {_place(path), os.path.realpath(path)}:
            if not any(place == root or place.startswith(f"{root}/") for root in roots):
                really = "" if place == path else f" (really {place})"
                raise OutOfBounds(
                    f"{name} refused: {path}{really} was not made by this sandbox, which may change only "
                    f"what lies below {', '.join(roots)}"
                )


def _changed(name: str, arguments: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    looks = LOOKS.get(name, frozenset())
    for key, value in arguments.items():
        if key in looks or key in _WORDS:
            continue
        for one in value if isinstance(value, list | tuple) else (value,):
            if isinstance(one, str) and (key in _PATHS or one.startswith("/")):
                yield key, one


def _place(path: str) -> str:
    """Where the name itself stands, its last part not followed."""
    head, tail = os.path.split(path.rstrip("/"))
    if tail in ("", ".", ".."):
        return os.path.realpath(path)
    return os.path.join(os.path.realpath(head), tail)
