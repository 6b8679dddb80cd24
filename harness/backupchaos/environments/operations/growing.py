"""Source trees: made, changed, copied, scanned. The work is that of ``backupchaos.trees``."""

from __future__ import annotations

from typing import Any

from backupchaos import trees


def build_tree(root: str, spec: dict[str, Any], seed: int | str) -> dict[str, Any]:
    """Make a source tree; ``spec`` holds the fields of ``SourceSpec``, features by name."""
    return trees.build(root, _spec(spec), seed).to_dict()


def change_tree(
    root: str,
    spec: dict[str, Any],
    seed: int | str,
    **how: Any,
) -> dict[str, Any]:
    """Change a tree from the seed; ``how`` is what ``apply_change`` takes: fraction, round ..."""
    return trees.apply_change(root, _spec(spec), seed, **how).to_dict()


def copy_tree(source: str, destination: str, limits: dict[str, Any] | None = None) -> dict[str, Any]:
    """Copy a tree, for instance an exposed host directory into the source volume."""
    bounds = dict(limits or {})
    bounds["exclude"] = tuple(bounds.get("exclude", ()))
    return trees.copy_tree(source, destination, limits=trees.CopyLimits(**bounds)).to_dict()


def scan_tree(root: str, fd: int | None = None, out: str | None = None) -> dict[str, Any]:
    """Write the manifest of a tree to the descriptor handed over, or to the path ``out``."""
    if fd is None and out is None:
        raise ValueError("scan_tree needs a descriptor or a path to write to")
    if fd is None:
        assert out is not None
        return trees.scan(root, out).to_dict()
    with open(fd, "wb", closefd=False) as file:
        summary = trees.scan(root, file)
    return summary.to_dict()


def _spec(fields: dict[str, Any]) -> trees.SourceSpec:
    fields = dict(fields)
    if "features" in fields:
        fields["features"] = frozenset(fields["features"])
    return trees.SourceSpec(**fields)
