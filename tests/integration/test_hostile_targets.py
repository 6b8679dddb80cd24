"""Targets that behave badly in ways a harness must survive: a correct verdict each, nothing left behind."""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from backupchaos.commands import Command
from backupchaos.engine.run import Run
from backupchaos.errors import MissingCapability, UsageProblem
from backupchaos.model.scenario import Scenario
from backupchaos.results import Verdict
from backupchaos.targets.base import Workspace
from backupchaos_targets.reference import ReferenceTarget

pytestmark = [pytest.mark.needs("namespaces", "seccomp"), pytest.mark.slow]


def plain(**fields: Any) -> Scenario:
    return Scenario.model_validate(
        {
            "scenario": "plain",
            "title": "No fault at all",
            "source": {"files": 20, "size": 2**19, "new": 2**18},
            "repository": "local",
            "deadline": 60.0,
            "silence": 20.0,
            **fields,
        },
        strict=False,
    )


class Wrapped(ReferenceTarget):
    """The honest job, with a prelude or an ending of Python code in its second run."""

    def __init__(self, before: str = "", after: str = "") -> None:
        super().__init__()
        self.before, self.after = before, after

    def backup(self, work: Workspace) -> Command:
        inner = super().backup(work)
        code = (
            "import os, signal, subprocess, sys, time\n"
            f"marker = {work.state + '/second'!r}\n"
            "second = os.path.exists(marker)\n"
            "open(marker, 'a').close()\n"
            f"source = {work.source!r}\n"
            f"if second:\n    pass\n{_indent(self.before)}\n"
            f"code = subprocess.call({list(inner.argv)!r})\n"
            f"if second:\n    pass\n{_indent(self.after)}\n"
            "sys.exit(code)\n"
        )
        return Command((sys.executable, "-c", code), inner.env, secrets=inner.secrets)


def _indent(code: str) -> str:
    return "\n".join("    " + line for line in code.splitlines())


def row(run: Run, identity: str) -> Any:
    return next(check for check in run.checks if check.id == identity)


def test_a_job_that_dies_of_a_signal_has_failed(run_here: Callable[..., Run]) -> None:
    run = run_here(plain(), Wrapped(after="os.kill(os.getpid(), signal.SIGSEGV)"))
    assert run.outcome == "failure"
    assert row(run, "loud").verdict is Verdict.FAIL


def test_a_job_that_hangs_and_ignores_term_is_ended(run_here: Callable[..., Run]) -> None:
    hang = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nsignal.pause()"
    run = run_here(plain(silence=2.0), Wrapped(before=hang))
    assert row(run, "bounded").verdict is Verdict.FAIL
    assert "no output and no progress" in row(run, "bounded").observed


def test_a_job_that_runs_past_its_deadline_is_ended(run_here: Callable[..., Run]) -> None:
    chatter = "while True:\n    print('still here', flush=True)\n    time.sleep(0.05)"
    run = run_here(plain(deadline=3.0), Wrapped(before=chatter))
    assert row(run, "bounded").verdict is Verdict.FAIL
    assert "still running" in row(run, "bounded").observed


def test_a_daemon_that_is_left_behind_is_found(run_here: Callable[..., Run]) -> None:
    fork = "if os.fork() == 0:\n    os.setsid()\n    os.execvp('sleep', ['sleep', '600'])"
    run = run_here(plain(), Wrapped(after=fork))
    assert row(run, "clean").verdict is Verdict.FAIL
    assert "sleep" in row(run, "clean").observed


def test_binary_garbage_and_escape_codes_do_no_harm(run_here: Callable[..., Run]) -> None:
    noise = "os.write(2, bytes(range(256)) * 200 + b'\\x1b[2J\\x1b]0;title\\x07\\n')"
    run = run_here(plain(), Wrapped(before=noise))
    assert run.outcome == "success"
    assert row(run, "honest").verdict is Verdict.PASS
    run.result.save(run.report / "again.json")


def test_an_endless_line_and_a_huge_log_cost_no_memory(run_here: Callable[..., Run]) -> None:
    flood = (
        "block = b'x' * 2**20\nfor _ in range(150):\n    os.write(2, block)\nos.write(2, b'\\n')\n"
        "line = b'a plain line of output ' * 43 + b'\\n'\nfor _ in range(100000):\n    os.write(2, line)"
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run = run_here(plain(), Wrapped(before=flood))
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert run.outcome == "success"
    assert row(run, "honest").verdict is Verdict.PASS
    assert any("left out" in note for note in run.result.notes)
    assert (run.report / "history.jsonl").stat().st_size < 16 * 2**20
    assert grown < 150 * 2**20


def test_a_job_that_changes_its_own_source_has_failed(run_here: Callable[..., Run]) -> None:
    run = run_here(plain(), Wrapped(after="open(source + '/planted', 'w').write('x')"))
    assert run.verdict is Verdict.FAIL
    assert row(run, "source").verdict is Verdict.FAIL
    assert "planted" in row(run, "source").observed


def test_a_repository_without_room_is_told_as_such(run_here: Callable[..., Run]) -> None:
    run = run_here(plain(volumes={"repository": 64 * 1024}), ReferenceTarget())
    assert run.verdict is Verdict.FAIL
    assert "full" in run.result.headline


class Absent(ReferenceTarget):
    def backup(self, work: Workspace) -> Command:
        return Command(("no-such-backup-tool", "--now"))


def test_a_missing_program_is_the_users_to_know(run_here: Callable[..., Run]) -> None:
    with pytest.raises((UsageProblem, MissingCapability), match="no-such-backup-tool"):
        run_here(plain(), Absent())


class Chatty(ReferenceTarget):
    """Prints its password."""

    def backup(self, work: Workspace) -> Command:
        inner = super().backup(work)
        code = f"import os, subprocess, sys\nprint({work.password!r}, file=sys.stderr)\nsys.exit(subprocess.call({list(inner.argv)!r}))"
        return Command((sys.executable, "-c", code), inner.env, secrets=inner.secrets)


def test_secrets_reach_no_file(run_here: Callable[..., Run]) -> None:
    from backupchaos.engine.prepare import PASSWORD

    run = run_here(plain(), Chatty())
    for path in run.report.iterdir():
        assert PASSWORD not in path.read_text("utf-8", errors="replace"), path.name


def test_the_same_seed_makes_the_same_world(run_here: Callable[..., Run]) -> None:
    def identities(seed: int) -> Sequence[str]:
        run = run_here(plain(), ReferenceTarget(), seed=seed)
        return [
            event["identity"]
            for event in run.events
            if event.kind == "manifest" and event["which"] in ("M1", "M2")
        ]

    assert identities(11) == identities(11)
    assert identities(11) != identities(12)
