"""Every kind of fault meets three real tools: one in Go that has no libc, one in Python, one in C."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.faults import matrix, tool_matrix, tools

from backupchaos.errors import MissingCapability
from backupchaos.faults.registry import mechanisms
from backupchaos.services import registry

pytestmark = [
    pytest.mark.needs("namespaces", "seccomp", "restic", "borg", "rsync", "rclone"),
    pytest.mark.slow,
]


@pytest.fixture
def own_server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands behind the link is the server that belongs to the tool of the test."""
    tool = request.getfixturevalue("tool")
    monkeypatch.setattr(registry, "make_service", lambda kind, prefer=None: tools.server_of(tool, kind))


@pytest.mark.parametrize(("tool", "kind"), tool_matrix.PAIRS)
@pytest.mark.usefixtures("own_server")
def test_the_tool_meets_it(tool: str, kind: str, tmp_path: Path) -> None:
    try:
        proof = tool_matrix.meet(tmp_path, tool, kind)
    except MissingCapability as missing:
        if kind not in matrix.NEEDS_ROOT:
            raise
        pytest.skip(f"not for this machine: {missing}")
    assert proof


def test_no_pair_is_forgotten() -> None:
    known = {(tool, kind) for tool in tools.TOOLS for kind in mechanisms()}
    left_out = {tuple(pair.split(" ")) for pair in tool_matrix.NOT_FOR}
    assert left_out <= known
    assert set(tool_matrix.PAIRS) == known - left_out


@pytest.mark.parametrize(
    "kind",
    [pair.split(" ")[1] for pair in tool_matrix.NOT_FOR if "rsync service" not in pair and "rsync" in pair],
)
def test_a_tool_that_has_no_such_thing_is_no_victim(kind: str, tmp_path: Path) -> None:
    with pytest.raises(MissingCapability):
        tool_matrix.meet(tmp_path, "rsync", kind)
