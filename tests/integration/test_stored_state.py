"""What lies between two jobs: an honest tool passes each story, and each planted mistake is found."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.integration.worlds import scenario

from backupchaos.engine.run import Run
from backupchaos.results import Verdict
from backupchaos.targets.base import Target
from backupchaos_targets.command import CommandTarget

pytestmark = [pytest.mark.needs("namespaces", "seccomp"), pytest.mark.slow]
TOOL = Path(__file__).with_name("tiny.py")
SMALL = {"files": 12, "size": 256 * 1024, "new": 64 * 1024, "names": "portable"}


def tiny(folder: Path, planted: str = "") -> Target:
    run = f"{sys.executable} {{here}}/tiny.py"
    (folder / "tiny.py").write_bytes(TOOL.read_bytes())
    file = folder / "tiny.yaml"
    keys = {
        "target": "tiny",
        "init": f"{run} init {{repository}} {{cache}} {{password}}",
        "backup": f"{run} backup {{repository}} {{cache}} {{password}} {{source}}",
        "snapshots": f"{run} list {{repository}} {{cache}} {{password}}",
        "restore": f"{run} restore {{repository}} {{cache}} {{password}} {{snapshot}} {{restore}}",
        "unlock": "rm -f {repository}/lock",
        "env": {"TINY": planted or "nothing"},
        "promises": {"aspects": ["content", "type"], "features": []},
    }
    file.write_text(json.dumps(keys))
    return CommandTarget.from_yaml(file)


STORIES: dict[str, dict[str, Any]] = {
    "rollback": {"faults": {"f": {"repository.rollback": "repository"}}},
    "swapped": {"faults": {"f": {"repository.swapped": "repository"}}},
    "password": {
        "faults": {"f": {"repository.wrong_password": "repository"}},
        "envelope": "must_fail_loudly",
    },
    "lock": {"faults": {"f": {"repository.stale_lock": "repository"}}, "envelope": "must_survive"},
    "corrupt": {"faults": {"f": {"cache.corrupt": "cache"}}, "envelope": "must_survive"},
    "lost": {"faults": {"f": {"cache.lost": "cache"}}, "envelope": "must_survive"},
    "drift": {"faults": {"f": {"config.drift": "target"}}, "envelope": "must_survive"},
}


def told(name: str, planted: str, folder: Path, run_here: Callable[..., Run]) -> Run:
    return run_here(scenario(name, source=SMALL, repository="local", **STORIES[name]), tiny(folder, planted))


def failed(run: Run) -> set[str]:
    return {row.id for row in run.checks if row.verdict is Verdict.FAIL}


@pytest.mark.parametrize("name", STORIES)
def test_an_honest_tool_passes(name: str, tmp_path: Path, run_here: Callable[..., Run]) -> None:
    run = told(name, "", tmp_path, run_here)
    assert run.verdict is Verdict.PASS, [run.result.headline, *map(str, run.checks)]
    (fault,) = run.result.faults
    assert fault.bit and fault.undone


@pytest.mark.parametrize(
    ("name", "planted", "found"),
    [
        ("rollback", "trusts_cache", ({"honest", "recoverable"}, "data_loss")),
        ("swapped", "trusts_cache", ({"honest", "recoverable"}, "data_loss")),
        ("swapped", "keeps_quiet", ({"honest"}, "data_loss")),
        ("password", "any_password", ({"honest", "outcome", "recoverable"}, "data_loss")),
        ("lock", "waits_for_the_dead", ({"outcome", "recoverable"}, "wedged")),
        ("lost", "needs_cache", ({"outcome", "recoverable"}, "wedged")),
        ("drift", "needs_cache", ({"outcome"}, "expectation")),
    ],
)
def test_a_planted_mistake_is_found(
    name: str, planted: str, found: tuple[set[str], str], tmp_path: Path, run_here: Callable[..., Run]
) -> None:
    run = told(name, planted, tmp_path, run_here)
    assert run.verdict is Verdict.FAIL, run.result.headline
    assert (failed(run), run.result.severity) == found


def test_a_refusal_is_no_loss(tmp_path: Path, run_here: Callable[..., Run]) -> None:
    story = {
        **STORIES["rollback"],
        "expect": {"older": "loud"},
        "waive": {"recoverable": "until somebody decides"},
    }
    run = run_here(
        scenario("refused", source=SMALL, repository="local", **story), tiny(tmp_path, "refuses_older")
    )
    assert run.outcome == "failure"
    lists = [e["problem"] for e in run.events if e.kind == "snapshots" and e["when"] == "after"]
    assert lists[0].startswith("exit 1")
    assert run.verdict is Verdict.PASS, run.result.headline
