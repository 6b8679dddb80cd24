"""Copying a real tree with all that the current user may keep: hard links, holes, attributes, times."""

from __future__ import annotations

import os

from .copier import Copier
from .copymodel import CopyLimits, CopySummary
from .display import display_path
from .entry import TreeError, plain
from .manifest import PathLike
from .seeded import failed
from .walk import open_root, refuse_inside, walk


def copy_tree(src: PathLike, dst: PathLike, *, limits: CopyLimits | None = None) -> CopySummary:
    """Copy the tree at ``src`` to ``dst``, which must be empty or not there yet; say what came along.

    Links are copied, never followed. Sockets and devices are skipped and recorded; what cannot be
    read, or changes meanwhile, is recorded and left out, since half a file would pass for a whole
    one. Raises `TreeError` when the source is no directory, when the destination is in use, inside
    of the source, or full, and when a limit is passed.
    """
    source, place = plain(src), plain(dst)
    bounds = limits or CopyLimits()
    fd = open_root(source)
    try:
        refuse_inside(os.fstat(fd), place, "copy to")
    finally:
        os.close(fd)
    try:
        os.makedirs(place, exist_ok=True)
        if os.listdir(place):
            raise TreeError(f"cannot copy to {display_path(place)}: it must be an empty directory")
        copier = Copier(open_root(place), bounds)
        try:
            for step in walk(source, one_file_system=bounds.one_file_system):
                copier.step(step)
            return copier.summary()
        finally:
            copier.close()
    except OSError as exc:
        raise failed("copy to", place, exc) from exc
