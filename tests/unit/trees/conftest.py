"""Trees and their manifests for the tests of the restore oracle."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest

from backupchaos.trees import Comparison, ManifestReader, SourceSpec, build, compare, scan
from backupchaos.trees.entry import Entry

SMALL = SourceSpec(files=12, size=60_000, depth=2)


@pytest.fixture
def small_tree(tmp_path: Path) -> Path:
    """A tree with every default feature, and metadata on about a hundred paths."""
    root = tmp_path / "tree"
    build(root, SMALL, "small")
    return root


@pytest.fixture
def entries() -> Callable[[Path], list[Entry]]:
    def read(root: Path) -> list[Entry]:
        out = io.BytesIO()
        scan(root, out)
        out.seek(0)
        return list(ManifestReader(out))

    return read


@pytest.fixture
def same(tmp_path: Path) -> Callable[..., Comparison]:
    """Scan two trees and compare them."""

    def run(expected: Path, actual: Path, **options: object) -> Comparison:
        scan(expected, tmp_path / "expected.manifest")
        scan(actual, tmp_path / "actual.manifest")
        return compare(tmp_path / "expected.manifest", tmp_path / "actual.manifest", **options)  # type: ignore[arg-type]

    return run
