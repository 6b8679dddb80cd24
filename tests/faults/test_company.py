"""A second job beside the job, and a producer that dies."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.faults.bench import Probe, Tried, bench, python

from backupchaos.checks.beside import beside
from backupchaos.checks.case import Case
from backupchaos.commands import Command
from backupchaos.engine.beside import judge
from backupchaos.engine.options import RunOptions
from backupchaos.engine.run import Run, run_scenario
from backupchaos.environments.local.environment import LocalEnvironment
from backupchaos.errors import HarnessBroken, MissingCapability
from backupchaos.history import History
from backupchaos.model.scenario import Scenario
from backupchaos.results import CheckResult, RestoreResult, Verdict
from backupchaos.targets.base import Target, Workspace
from backupchaos.targets.dump import LAST_LINE, dump
from backupchaos.targets.registry import resolve_target
from backupchaos_targets.command import CommandTarget

needs_box = pytest.mark.needs("namespaces", "seccomp")

WRITES = "import os\nfor n in range(40):\n  with open('{repository}/f%d' % n, 'wb') as f: f.write(os.urandom(65536))"
LOOKS = "import os, time\nprint(len(os.listdir('{repository}')), flush=True)\nopen('{repository}/other', 'w').close()\ntime.sleep(0.2)"
HALF = {"when": {"bytes": 1 << 20}}


class Pair(Probe):
    """A job, and another command of the same tool: its check."""

    def __init__(self, job: Sequence[str], other: Sequence[str]) -> None:
        super().__init__(job)
        self.other = other

    def check(self, work: Workspace) -> Command:
        return Probe(self.other).backup(work)


def both(tmp_path: Path, other: Sequence[str], job: str = WRITES, **fields: Any) -> Tried:
    fault = {"process.concurrent": "target", "what": "check", **HALF, **fields}
    with bench(tmp_path, fault, (), target=Pair(python(job), other)) as made:
        return made.go()


def ends(result: Tried) -> list[Any]:
    return [e for e in result.events if e.kind == "beside.end"]


# -- a second job -------------------------------------------------------------------------------


@needs_box
def test_two_at_the_same_time_in_the_same_repository(tmp_path: Path) -> None:
    result = both(tmp_path, python(LOOKS))
    assert result.returncode == 0
    assert "the job and a check" in result.proof[0]
    assert "it came to" in result.proof[0]
    (end,) = ends(result)
    assert (end["returncode"], end["killed"]) == (0, False)
    (said,) = [e for e in result.events if e.kind == "beside"]
    assert 1 <= int(said["text"]) < 40, "the other must see the job half way"


@needs_box
def test_a_job_that_comes_to_its_trigger_meanwhile_is_held(tmp_path: Path) -> None:
    """Its growth is seen before its writes reach the count: it is not let go until the other has come."""
    job = (
        "import mmap, os, time\nfd = os.open('{repository}/first', os.O_RDWR | os.O_CREAT)\nos.truncate(fd, 2 << 20)\n"
        "memory = mmap.mmap(fd, 2 << 20)\nmemory[:] = b'1' * (2 << 20)\ntime.sleep(0.3)\n"
    )
    result = both(tmp_path, python("import time\ntime.sleep(1.5)\n" + LOOKS), job + WRITES)
    (seen,) = [e for e in result.events if e.kind == "beside"]
    assert int(seen["text"]) < 40
    assert result.proof


@needs_box
def test_one_that_never_comes_to_the_repository_is_no_company(tmp_path: Path) -> None:
    result = both(tmp_path, ("true",))
    assert result.proof == []
    assert ends(result)[0]["returncode"] == 0


@needs_box
def test_one_that_starts_when_the_job_is_over_is_no_company(tmp_path: Path) -> None:
    assert both(tmp_path, python(LOOKS), when={"exit": True}).proof == []


@needs_box
def test_the_other_is_waited_for(tmp_path: Path) -> None:
    late = LOOKS + "\ntime.sleep(1)\nprint('late', flush=True)"
    result = both(tmp_path, python(late))
    assert ends(result)[0]["returncode"] == 0
    assert [e["text"] for e in result.events if e.kind == "beside"][-1] == "late"


@needs_box
def test_one_that_never_ends_is_ended_and_told(tmp_path: Path) -> None:
    stuck = LOOKS + "\ntime.sleep(60)"
    result = both(tmp_path, python(stuck), patience=0.3)
    (end,) = ends(result)
    assert end["killed"] is True
    assert end["returncode"] == -15
    assert result.proof
    (row,) = rows(result.events)
    assert (row.law, row.verdict) == ("bounded", Verdict.FAIL)
    assert "still running" in row.observed


@needs_box
@pytest.mark.parametrize("what", ["prune", "check"])
def test_a_target_without_such_a_command_cannot_have_it(tmp_path: Path, what: str) -> None:
    fault = {"process.concurrent": "target", "what": what, **HALF}
    missing = pytest.raises(MissingCapability, match=f"target probe has no {what} command")
    with missing, bench(tmp_path, fault, python(WRITES)):
        pass


@needs_box
def test_the_job_of_a_second_backup_is_not_taken_for_ours(tmp_path: Path) -> None:
    """The reference keeps its own states: those of the newest job must be those of the job under judgement."""
    run = run_here(
        tmp_path, {"process.concurrent": "target", "when": {"at": 0.25}}, resolve_target("reference")
    )
    assert run.verdict is Verdict.PASS, shown(run)
    assert {"bounded.beside", "transitions", "final_state"} <= {row.id for row in run.checks}
    lines = [json.loads(line) for line in (run.directory / "history.jsonl").read_text().splitlines()]
    (other,) = [line for line in lines if line["kind"] == "beside.start"]
    assert run.result.states[0].state == "PENDING"
    assert run.result.states[0].t < other["t"]


# -- whose snapshot -----------------------------------------------------------------------------


def rows(events: Sequence[Any]) -> list[CheckResult]:
    scenario = Scenario.model_validate({"scenario": "s", "title": "t"}, strict=False)
    return beside(Case(scenario, Probe(()).profile, events))


def found(tmp_path: Path, claims: bool, **restores: bool) -> dict[str, str | None]:
    """Which snapshot was recorded as what; the arguments say which of them are whole."""
    history = History(tmp_path / f"{claims}-{'-'.join(restores)}.jsonl")

    def restore(which: str, name: str) -> RestoreResult:
        return RestoreResult(which, name, True, 0, missing=0 if restores[name] else 1, expected=1)

    judge(history, list(restores), claims, restore)
    history.append("beside.end", what="backup", pid=1, returncode=0, killed=False, patience=60.0)
    seen = {e["which"]: e["snapshot"] for e in history.of("restore")}
    verdicts = {row.id: str(row.verdict) for row in rows(history.events)}
    history.close()
    return {**seen, **{k: v for k, v in verdicts.items() if k == "honest.beside"}}


def test_either_of_two_whole_snapshots_will_do(tmp_path: Path) -> None:
    assert found(tmp_path, True, a=True, b=True) == {"newest": "b"}


def test_a_broken_one_beside_a_whole_one_is_the_others(tmp_path: Path) -> None:
    assert found(tmp_path, True, a=True, b=False) == {"newest": "a", "beside": "b", "honest.beside": "fail"}
    assert found(tmp_path, True, a=False, b=True) == {"newest": "b", "beside": "a", "honest.beside": "fail"}


def test_two_broken_ones_are_both_found(tmp_path: Path) -> None:
    assert found(tmp_path, True, a=False, b=False) == {"newest": "b", "beside": "a", "honest.beside": "fail"}


def test_a_job_that_claims_nothing_is_asked_for_the_worst_in_the_list(tmp_path: Path) -> None:
    assert found(tmp_path, False, a=False, b=True) == {"unclaimed": "a"}
    assert found(tmp_path, False, a=True, b=True) == {"unclaimed": "a"}


def test_without_company_there_are_no_rows() -> None:
    assert rows([]) == []


# -- a producer that dies -----------------------------------------------------------------------

READS = "import sys\ndata = sys.stdin.buffer.read()\nprint('read', len(data), flush=True)"


class Piped(Probe):
    """A job that reads its standard input."""

    def __init__(self, job: Sequence[str], producer: Callable[[Workspace], Command] = dump) -> None:
        super().__init__(job)
        self.producer = producer

    def pipeline(self, work: Workspace) -> tuple[Command, Command]:
        return self.producer(work), self.backup(work)


def piped(tmp_path: Path, target: Piped, **fields: Any) -> Tried:
    fault = {"process.stdin_dies": "target", **fields}
    with bench(tmp_path, fault, (), target=target) as made:
        return made.go()


@needs_box
@pytest.mark.parametrize("share", [0.25, 0.75])
def test_the_pipe_ends_after_a_share_of_the_output(tmp_path: Path, share: float) -> None:
    result = piped(tmp_path, Piped(python(READS)), share=share)
    stream = result.fault.stream
    assert stream is not None and stream.size > 256 * 1024
    read = int(result.lines[0].split()[1])
    assert stream.size * share - 200_000 < read <= stream.size * share
    assert "the producer was killed" in result.proof[0]


@needs_box
def test_a_producer_that_may_finish_is_no_fault(tmp_path: Path) -> None:
    result = piped(tmp_path, Piped(python(READS)), share=1.0)
    assert result.fault.stream is not None
    assert result.lines == [f"read {result.fault.stream.size}"]
    assert result.proof == []


@needs_box
def test_a_job_that_does_not_read_does_not_see_it_die(tmp_path: Path) -> None:
    """And the producer, which waits for its reader, does not outlive the fault."""
    fault = {"process.stdin_dies": "target"}
    with bench(tmp_path, fault, (), target=Piped(python("print('no')")), source=BIG) as made:
        result = made.go()
        assert [p for p in made.world.sandbox.processes() if p.role == "tool"] == []
    assert result.proof == []
    assert [e["status"] for e in result.events if e.kind == "fault"][-1] == "undone"


BIG = {"files": 12, "size": 1 << 20, "new": 1 << 20, "names": "portable"}


@needs_box
def test_a_target_that_reads_no_pipe_cannot_have_it(tmp_path: Path) -> None:
    missing = pytest.raises(MissingCapability, match="target probe does not store its standard input")
    with missing, bench(tmp_path, {"process.stdin_dies": "target"}, python(READS)):
        pass


@needs_box
def test_a_producer_that_fails_by_itself_is_the_harnesss_error(tmp_path: Path) -> None:
    with pytest.raises(HarnessBroken, match="the producer ended with 1, without any fault"):
        piped(tmp_path, Piped(python(READS), lambda work: Command(("false",))))


TARGET = """
target: dumps
backup: ./tool.sh tree {source} {repository}
stdin: ./tool.sh stream {repository}
snapshots: ls {repository}
restore: ./tool.sh restore {repository}/{snapshot} {restore}
promises: {aspects: [content]}
"""
TOOL = """#!/bin/sh
case $1 in
tree) tar -C "$2" -cf "$3/$(date +%s%N).tar" . ;;
stream) cat >"$2/.new" && { CHECK; } && mv "$2/.new" "$2/$(date +%s%N).stream" ;;
restore) case $2 in *.tar) tar -C "$3" -xf "$2" ;; *) cp "$2" "$3/dump" ;; esac ;;
esac
"""
CARELESS = "true"
CAREFUL = f"""tail -n 1 "$2/.new" | grep -q -- "{LAST_LINE}" || {{ rm "$2/.new"; echo "error: truncated dump" >&2; false; }}"""


def run_here(tmp_path: Path, fault: dict[str, Any], target: Target) -> Run:
    fields = {
        "source": {"files": 20, "size": 1 << 20, "new": 1 << 20, "names": "portable"},
        "faults": {"f": fault},
    }
    scenario = Scenario.model_validate({"scenario": "s", "title": "t", **fields}, strict=False)
    return run_scenario(
        scenario, target, RunOptions(environment=LocalEnvironment(), results=tmp_path / "runs", seed=7)
    )


def shown(run: Run) -> str:
    return "\n".join([run.result.headline, *(f"{c.verdict} {c.id}: {c.observed}" for c in run.checks)])


def stores_streams(tmp_path: Path, check: str) -> CommandTarget:
    script, path = tmp_path / "tool.sh", tmp_path / "target.yaml"
    script.write_text(TOOL.replace("CHECK", check))
    script.chmod(0o755)
    path.write_text(TARGET)
    return CommandTarget.from_yaml(path)


@needs_box
def test_half_a_dump_that_claims_to_be_one_is_silent_data_loss(tmp_path: Path) -> None:
    run = run_here(tmp_path, {"process.stdin_dies": "target"}, stores_streams(tmp_path, CARELESS))
    assert run.verdict is Verdict.FAIL, shown(run)
    assert run.result.severity == "data_loss"
    (newest,) = [r for r in run.result.restores if r.which == "newest"]
    assert "of the producer's" in newest.differences[0]


@needs_box
def test_who_looks_for_the_last_line_fails_loudly_and_passes(tmp_path: Path) -> None:
    run = run_here(tmp_path, {"process.stdin_dies": "target"}, stores_streams(tmp_path, CAREFUL))
    assert run.verdict is Verdict.PASS, shown(run)
    assert run.result.outcome == "failure"


@needs_box
@pytest.mark.parametrize(
    "name",
    [
        pytest.param("restic", marks=pytest.mark.needs("restic")),
        pytest.param("borg", marks=[pytest.mark.needs("borg"), pytest.mark.slow]),
    ],
)
def test_a_whole_stream_is_told_from_half_a_one(tmp_path: Path, name: str) -> None:
    """No false alarm: nothing dies, the claim is true, and the run is worth nothing."""
    run = run_here(tmp_path, {"process.stdin_dies": "target", "share": 1.0}, resolve_target(name))
    assert run.verdict is Verdict.INVALID, shown(run)
    assert {row.id: row.verdict for row in run.checks}["honest"] is Verdict.PASS
    assert run.result.outcome == "success"


@needs_box
def test_the_reference_notices_by_the_last_line(tmp_path: Path) -> None:
    run = run_here(tmp_path, {"process.stdin_dies": "target"}, resolve_target("reference"))
    assert run.verdict is Verdict.PASS, shown(run)
    assert run.result.outcome == "failure"
