"""A backup gives back what it was given."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.reference.support import Service, describe, odd_tree


def test_odd_tree_comes_back_in_every_detail(service: Service) -> None:
    odd_tree(service.source)
    before = describe(service.source)
    result = service.backup()
    assert result.code == 0
    assert result.states == ["PENDING", "RUNNING", "SUCCESS"]
    assert describe(service.source) == before
    assert service.restored() == before


def test_same_over_sftp(far: Service) -> None:
    odd_tree(far.source)
    before = describe(far.source)
    assert far.backup().code == 0
    assert far.restored() == before
    assert far.run("check", "--read-data").code == 0


NAMES = st.binary(min_size=1, max_size=12).filter(
    lambda name: not set(name) & set(b"/\0") and name not in (b".", b"..")
)
CONTENTS = st.one_of(
    st.binary(max_size=50),
    st.integers(4090, 4100).map(lambda size: b"x" * size),  # around the size of a chunk
    st.tuples(st.integers(0, 3), st.binary(min_size=1, max_size=9)).map(
        lambda hole: bytes(hole[0] * 4096) + hole[1]
    ),
)
TREES = st.recursive(
    CONTENTS, lambda children: st.dictionaries(NAMES, children, max_size=4), max_leaves=12
).filter(lambda tree: isinstance(tree, dict))  # fmt: skip


def plant(folder: bytes, tree: dict[bytes, Any]) -> None:
    for name, content in tree.items():
        path = os.path.join(folder, name)
        if isinstance(content, dict):
            os.mkdir(path)
            plant(path, content)
        else:
            with open(path, "wb") as file:
                file.write(content)


@given(first=TREES, second=TREES)
@settings(max_examples=12, deadline=None)
def test_any_tree_comes_back_and_so_does_its_predecessor(
    first: dict[bytes, Any], second: dict[bytes, Any]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        service = Service(Path(folder)).ready()
        wanted = []
        for tree in (first, second):
            shutil.rmtree(service.source)
            service.source.mkdir()
            plant(os.fsencode(service.source), tree)
            wanted.append(describe(service.source))
            assert service.backup().code == 0
        assert [service.restored(snapshot) for snapshot in service.snapshots()] == wanted


def test_unchanged_content_is_stored_once(service: Service) -> None:
    (service.source / "a").write_bytes(os.urandom(20_000))
    first = json.loads(service.backup("--json").stdout)
    (service.source / "copy").write_bytes((service.source / "a").read_bytes())
    second = json.loads(service.backup("--json").stdout)
    assert first["chunks_new"] == 6, "five of content and one of the manifest"
    assert second["chunks_new"] == 1
    assert second["chunks_reused"] == 10


def test_sparse_files_stay_sparse(service: Service) -> None:
    with open(service.source / "sparse", "wb") as file:
        file.truncate(50_000_000)
        file.seek(20_000_000)
        file.write(b"island")
    assert service.backup().code == 0
    target = service.root / "out"
    assert service.run("restore", "latest", "--target", str(target)).code == 0
    assert (target / "sparse").stat().st_size == 50_000_000
    assert (target / "sparse").stat().st_blocks * 512 < 1_000_000


def test_memory_stays_flat(service: Service) -> None:
    """64 MiB of content may cost a process no more than a few MiB beyond what 1 MiB costs."""
    program = (
        "import resource, sys; from backupchaos_reference.cli import main; code = main(sys.argv[1:]);"
        "print(code, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    service.env = {"BACKUPCHAOS_REFERENCE_CHUNK_SIZE": "262144"}
    shutil.rmtree(service.repo)
    service.ready()
    peaks = []
    for size in (1, 64):
        with open(service.source / "big", "wb") as file:
            for number in range(size):
                file.write(number.to_bytes(4, "big") * (1 << 18))
        done = subprocess.run(
            [sys.executable, "-c", program, *service.arguments("backup")],
            env={**os.environ, **service.environ()},
            capture_output=True,
            check=True,
        )
        code, peak = done.stdout.split()[-2:]
        assert code == b"0"
        peaks.append(int(peak))
    assert peaks[1] - peaks[0] < 8 << 10, f"peaks in KiB: {peaks}"
