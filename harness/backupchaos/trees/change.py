"""Changing a tree from a seed, one round at a time, in all the ways that a backup must notice."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .changer import INSIDE, LISTED, Changer
from .display import display_path
from .entry import TreeError, plain, to_text
from .manifest import PathLike
from .seeded import WORDS, Seed, failed
from .spec import SourceSpec
from .walk import walk

KINDS = ("edited", "grown", "truncated", "deleted", "renamed", "mode_changed", "file_to_dir", "touched")
_WEIGHTS = (30, 12, 8, 16, 14, 6, 3, 11)
_NEEDS_CONTENT = frozenset({"edited", "truncated"})


@dataclass(frozen=True, slots=True)
class ChangeSummary:
    """What was changed: relative paths for each kind, ``renamed`` as (old, new).

    ``new_bytes`` counts fresh random bytes in new files, ``written_bytes`` all that were written.
    ``dir_to_file`` are directories replaced by a file; what lay in them is among ``deleted``, and
    what lies in those of ``file_to_dir`` is among ``new``. ``not_made`` maps a kind to why there is
    none of it.
    """

    new: tuple[bytes, ...] = ()
    edited: tuple[bytes, ...] = ()
    grown: tuple[bytes, ...] = ()
    truncated: tuple[bytes, ...] = ()
    deleted: tuple[bytes, ...] = ()
    renamed: tuple[tuple[bytes, bytes], ...] = ()
    mode_changed: tuple[bytes, ...] = ()
    file_to_dir: tuple[bytes, ...] = ()
    dir_to_file: tuple[bytes, ...] = ()
    touched: tuple[bytes, ...] = ()
    new_bytes: int = 0
    written_bytes: int = 0
    not_made: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON (paths by surrogateescape)."""
        data: dict[str, Any] = {kind: list(map(to_text, getattr(self, kind))) for kind in LISTED}
        data["renamed"] = [[to_text(old), to_text(new)] for old, new in self.renamed]
        data |= {
            "new_bytes": self.new_bytes,
            "written_bytes": self.written_bytes,
            "not_made": dict(self.not_made),
        }
        return data


@dataclass(slots=True)
class _Tree:
    """What may be changed. Hard-linked files are left alone: one edit would change several paths."""

    files: dict[bytes, os.stat_result] = field(default_factory=dict)
    places: list[bytes] = field(default_factory=list)  # directories that entries can be added to
    replaceable: list[bytes] = field(default_factory=list)  # directories empty, or made by an earlier round


def _survey(root: bytes, depth: int) -> _Tree:
    tree = _Tree()
    children: dict[bytes, list[bytes]] = {}
    writable: dict[bytes, bool] = {}
    for step in walk(root):
        st, parent = step.st, step.path.rpartition(b"/")[0]
        if step.leaving:
            inside = children.pop(step.path, [])
            if step.path and writable.get(step.path) and writable.get(parent) and inside in ([], [INSIDE]):
                tree.replaceable.append(step.path)
            continue
        if step.path:
            children[parent].append(step.name)
        if step.error or st is None:
            continue
        # Decided by the mode bits and not by trying, so that root and others change the same files.
        can_write = bool(st.st_mode & stat.S_IWUSR)
        if stat.S_ISDIR(st.st_mode):
            children[step.path] = []
            writable[step.path] = can_write
            # Nothing new goes deeper than the bulk of the tree: long paths are a feature of their own.
            if can_write and step.path.count(b"/") <= depth:
                tree.places.append(step.path)
        elif stat.S_ISREG(st.st_mode) and st.st_nlink == 1 and can_write and writable.get(parent):
            tree.files[step.path] = st
    return tree


def apply_change(
    root: PathLike,
    spec: SourceSpec,
    seed: Seed,
    fraction: float = 0.10,
    round: int = 1,  # noqa: A002 - the word that scenarios use
    *,
    new_bytes: int | None = None,
    swap_types: bool = True,
) -> ChangeSummary:
    """Change about ``fraction`` of the files at ``root``, and add new ones; say what was changed.

    At least one of every kind is made where the tree has files enough. ``new_bytes`` is the least
    number of fresh random bytes in new files, so that a backup has something to transfer; by
    default ``fraction`` of the spec's size, and 256 KiB at least. Without ``swap_types`` no file becomes
    a directory, and no directory a file. Deterministic in tree, seed and
    round. Times change with every edit, and directories get times from the seed. Raises
    `TreeError` for senseless arguments, if the round was applied before, or if a call fails.
    """
    if not 0.0 <= fraction <= 1.0 or round < 1 or (new_bytes is not None and new_bytes < 0):
        raise TreeError(
            f"change: fraction must be 0..1 ({fraction}), round from 1 ({round}), new_bytes from 0"
        )
    wanted = max(256 * 1024, int(spec.size * fraction)) if new_bytes is None else new_bytes
    place = plain(root)
    changer = Changer(place, seed, round)
    tree = _survey(place, spec.depth)
    if not tree.places:
        raise TreeError(f"cannot change {display_path(place)}: none of its directories may be written")
    not_made: dict[str, str] = {}
    try:
        if swap_types:
            _replace_directory(changer, tree, fraction, not_made)
        _change_files(changer, tree, fraction, not_made, swap_types)
        _add_files(changer, tree, wanted, fraction)
        changer.finish()
    except OSError as exc:
        where = exc.filename if isinstance(exc.filename, bytes | str) else place
        raise failed("change", os.fsencode(where), exc) from exc
    lists: dict[str, Any] = {kind: tuple(paths) for kind, paths in changer.done.items()}
    return ChangeSummary(
        **lists, new_bytes=changer.new_bytes, written_bytes=changer.written, not_made=not_made
    )


def _replace_directory(changer: Changer, tree: _Tree, fraction: float, not_made: dict[str, str]) -> None:
    if fraction == 0:
        return
    if not tree.replaceable:
        not_made["dir_to_file"] = "no empty directory"
        return
    chosen = changer.rng("replace").choice(tree.replaceable)
    changer.dir_to_file(chosen)
    tree.files.pop(chosen + b"/" + INSIDE, None)
    tree.places = [path for path in tree.places if path != chosen]


def _change_files(
    changer: Changer, tree: _Tree, fraction: float, not_made: dict[str, str], swap_types: bool
) -> None:
    if fraction == 0:
        return
    kinds = {
        kind: weight
        for kind, weight in zip(KINDS, _WEIGHTS, strict=True)
        if swap_types or kind != "file_to_dir"
    }
    source = changer.rng("plan")
    paths = sorted(tree.files)
    source.shuffle(paths)
    filled = [path for path in paths if tree.files[path].st_size > 0]
    empty = [path for path in paths if tree.files[path].st_size == 0]
    count = max(len(kinds), int(len(paths) * fraction + 0.5))
    plan = [*kinds, *source.choices(list(kinds), list(kinds.values()), k=count - len(kinds))]
    for kind in plan:
        pool = filled if kind in _NEEDS_CONTENT or len(filled) >= len(empty) else empty
        if not pool:
            not_made.setdefault(kind, "not enough files with content" if empty else "not enough files")
            if not empty:
                continue
            kind, pool = "grown", empty  # noqa: PLW2901 - an empty file can do nothing but grow
        _apply(changer, kind, path := pool.pop(), tree.files[path], tree.places)
    for kind in [kind for kind in not_made if changer.done[kind]]:
        del not_made[kind]


def _apply(changer: Changer, kind: str, path: bytes, st: os.stat_result, places: list[bytes]) -> None:
    if kind in ("edited", "grown", "truncated"):
        changer.edit(kind, path, st)
    elif kind == "deleted":
        changer.delete(path)
    elif kind == "renamed":
        changer.rename(path, places)
    elif kind == "mode_changed":
        changer.change_mode(path, st)
    elif kind == "file_to_dir":
        changer.file_to_dir(path)
    else:
        changer.touch(path, st)


def _add_files(changer: Changer, tree: _Tree, wanted: int, fraction: float) -> None:
    source = changer.rng("add")
    if wanted == 0 and fraction == 0:
        return
    count = max(4, int(len(tree.files) * fraction * 0.2))
    weights = [source.uniform(0.2, 1.0) for _ in range(count)]
    scale = wanted / sum(weights)
    for number, weight in enumerate(weights):
        place = source.choice(tree.places)
        name = f"new-r{changer.number}-{number:04d}-{source.choice(WORDS)}".encode()
        # Rounded up, so that the sum is never less than what was asked for.
        changer.create((place + b"/" if place else b"") + name, int(weight * scale) + 1)
