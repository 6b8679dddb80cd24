"""Several links: what a service was told, and whose retries are whose."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from backupchaos.checks import judge
from backupchaos.checks.case import Case
from backupchaos.history import Event
from backupchaos.results import CheckResult, Verdict


def _load(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


cases = _load("cases")
Story, restored = cases.Story, cases.restored
SERVICES = {"services": {"catalog": "redis"}}
TOLD, NEXT = "honest.tier.catalog", "honest.tier.catalog.recovered"


class Tiers:
    """A story with a catalog; ``told`` is what it said, by job: a state, or a problem that begins with '!'."""

    def __init__(self, **fields: Any) -> None:
        self.story = Story(**{**SERVICES, **fields})
        self.story.retries = []
        self.told: dict[str, str | None] = {"fault": "SUCCESS", "recovery": "SUCCESS"}
        self.answers = {"control": 900, "fault": 900}
        self.tries: list[tuple[str, str, float]] = []
        """(source, link, when)"""
        self.knocks: list[tuple[str, float]] = []

    def case(self) -> Case:
        events = [event for event in self.story.case().events if event.kind != "link"]
        for event in events:
            if event.kind == "job.end" and event["job"] == "fault":
                event.data["tiers"] = {"catalog": [500, self.answers["fault"]]}
        rows: list[tuple[float, str, dict[str, Any]]] = [
            (0.0, "job.end", {"job": "control", "tiers": {"catalog": [500, self.answers["control"]]}})
        ]
        for job, said in self.told.items():
            problem = said[1:] if said and said.startswith("!") else ""
            data = {"job": job, "service": "catalog", "state": None if problem else said, "problem": problem}
            rows.append((9.0, "told", data))
        rows += [
            (t, "retry", {"job": "fault", "source": source, "link": link}) for source, link, t in self.tries
        ]
        rows += [(t, "link", {"ev": "refused", "count": 1, "link": link}) for link, t in self.knocks]
        events += [Event(len(events) + n, t, kind, data) for n, (t, kind, data) in enumerate(rows)]
        return Case(self.story.scenario, self.story.profile, events)

    def rows(self) -> dict[str, CheckResult]:
        return {result.id: result for result in judge.evaluate(self.case())}


def test_a_success_that_the_catalog_knows() -> None:
    rows = Tiers().rows()
    assert rows[TOLD].verdict is Verdict.PASS
    assert (rows[TOLD].law, rows[TOLD].observed) == ("honest", "SUCCESS")
    assert NEXT not in rows


@pytest.mark.parametrize(("said", "words"), [(None, "nothing of this job"), ("RUNNING", "RUNNING")])
def test_a_success_that_the_catalog_does_not_know_is_none(said: str | None, words: str) -> None:
    run = Tiers()
    run.told["fault"] = said
    row = run.rows()[TOLD]
    assert (row.verdict, row.observed) == (Verdict.FAIL, words)
    assert judge.severity(run.case(), [row]) == "misleading"


def test_a_catalog_that_cannot_be_asked_leaves_it_open() -> None:
    run = Tiers()
    run.told["fault"] = "!could not be asked (exit 1): refused"
    row = run.rows()[TOLD]
    assert row.verdict is Verdict.UNVERIFIED
    assert "could not be asked (exit 1): refused" in row.observed


@pytest.mark.parametrize("said", [None, "RUNNING", "FAILED"])
def test_a_failure_may_stand_in_the_catalog_as_anything_but_a_success(said: str | None) -> None:
    run = Tiers()
    run.story.fails()
    run.told["fault"] = said
    rows = run.rows()
    assert rows[TOLD].verdict is Verdict.PASS
    assert rows["honest"].observed == "it claims no success"


@pytest.mark.parametrize(
    ("restore", "verdict"),
    [(restored("newest"), Verdict.PASS), (restored("newest", missing=2), Verdict.FAIL), (None, Verdict.FAIL)],
)
def test_what_a_failed_job_has_promised_to_the_catalog_must_restore(restore: Any, verdict: Verdict) -> None:
    """The answer may have been lost; who asks the catalog believes it all the same."""
    run = Tiers()
    run.story.fails()
    if restore is not None:
        run.story.restores.insert(0, restore)
    assert run.case().claims_success and not run.case().says_success
    rows = run.rows()
    assert rows[TOLD].verdict is verdict
    broken = {Verdict.PASS: Verdict.PASS, Verdict.FAIL: Verdict.FAIL if restore else Verdict.UNVERIFIED}
    assert rows["honest"].verdict is broken[verdict]


def test_the_next_job_must_tell_it_too() -> None:
    run = Tiers()
    run.told["recovery"] = None
    row = run.rows()[NEXT]
    assert (row.verdict, row.observed) == (Verdict.FAIL, "nothing of this job")
    run.told["recovery"] = "!gave an answer that is not understood: x"
    assert run.rows()[NEXT].verdict is Verdict.UNVERIFIED


def test_nobody_can_ask_and_the_catalog_never_answered() -> None:
    run = Tiers()
    run.told = {}
    assert TOLD not in run.rows(), "it answered as in job 1"
    run.answers["fault"] = 0
    row = run.rows()[TOLD]
    assert row.verdict is Verdict.UNVERIFIED
    assert "the catalog never answered it; job 1 got 900 bytes" in row.observed
    run.answers["control"] = 0
    assert TOLD not in run.rows(), "job 1 had no need of it either"
    run.answers["control"] = 900
    run.story.fails()
    assert TOLD not in run.rows(), "it claims nothing"


def test_a_waived_law_has_no_such_rows() -> None:
    run = Tiers(waive={"honest": "the catalog is another team's"})
    run.told["fault"] = None
    assert TOLD not in run.rows()


# -- retries -------------------------------------------------------------------------------------------------

BOTH = {
    "faults": {"cut": {"network.down": "repository"}, "away": {"network.down": "catalog"}},
    "expect": {"retries": (1, 9), "backoff": "growing"},
}


def both(*tries: tuple[str, float]) -> Tiers:
    run = Tiers(**BOTH)
    run.tries = [("log", link, t) for link, t in tries]
    run.knocks = [(link, t) for link, t in tries]
    return run


def test_retries_count_on_whichever_link_they_were_and_the_row_says_which() -> None:
    run = both(("catalog", 0.3), ("catalog", 0.5), ("catalog", 0.9), ("repository", 1.0), ("", 1.1))
    row = run.rows()["retries"]
    assert row.verdict is Verdict.PASS
    assert row.observed == "5 (5 by log; catalog 3, repository 1, no link named 1)"
    assert row.evidence[0].text.startswith("retry by log on catalog")
    assert [retry.link for retry in run.case().retries()] == ["catalog"] * 3 + ["repository", ""]


def test_gaps_grow_on_each_link_by_itself() -> None:
    catalog = [("catalog", 0.1), ("catalog", 0.3), ("catalog", 0.7), ("catalog", 1.5)]
    later = [("repository", 1.6), ("repository", 1.8), ("repository", 2.2)]
    row = both(*catalog, *later).rows()["backoff"]
    assert row.verdict is Verdict.PASS, row.observed
    assert row.observed == "catalog: 0.20 0.40 0.80 s; repository: 0.20 0.40 s"
    steady = [("repository", 1.6), ("repository", 1.8), ("repository", 2.0)]
    assert both(*catalog, *steady).rows()["backoff"].verdict is Verdict.FAIL
    assert both(*catalog[:2], *later[:2]).rows()["backoff"].verdict is Verdict.UNVERIFIED


def test_retries_of_one_link_must_be_seen_at_that_one() -> None:
    run = both(("catalog", 0.3), ("catalog", 0.6), ("repository", 0.5), ("repository", 0.8))
    found = [row for row in judge.evaluate(run.case()) if row.id == "retries_real"]
    assert [(row.title.rpartition(" the ")[2], row.observed, row.verdict) for row in found] == [
        ("repository", "2", Verdict.PASS),
        ("catalog", "2", Verdict.PASS),
    ]
    run.knocks = [("repository", 0.5)] * 9
    found = [row for row in judge.evaluate(run.case()) if row.id == "retries_real"]
    assert [row.verdict for row in found] == [Verdict.PASS, Verdict.FAIL]


def test_retries_that_name_no_link_may_be_at_any_that_is_cut() -> None:
    run = both(("", 0.3), ("", 0.6))
    run.knocks = [("catalog", 0.3), ("repository", 0.6)]
    (row,) = [row for row in judge.evaluate(run.case()) if row.id == "retries_real"]
    assert (row.observed, row.verdict) == ("2", Verdict.PASS)
    assert row.title.endswith("to the repository or the catalog")


def test_the_rows_of_faults_say_on_which_link() -> None:
    run = both()
    assert {row.title for row in run.rows().values() if row.id.startswith("bite.")} == {
        "fault cut (network.down on the repository) bit",
        "fault away (network.down on the catalog) bit",
    }


def test_a_run_without_services_reads_as_ever() -> None:
    story = Story(expect={"retries": (1, 3)})
    row = next(row for row in judge.evaluate(story.case()) if row.id == "retries")
    assert row.observed == "1 (1 by log, 1 by link)"


def test_retries_at_a_file_excuse_none_that_names_its_link() -> None:
    run = both(("catalog", 0.3), ("catalog", 0.5), ("catalog", 0.9))
    run.tries += [("syscall", "", 0.4), ("syscall", "", 0.6), ("syscall", "", 1.0)]
    run.knocks = [("catalog", 0.3)]
    found = [row for row in judge.evaluate(run.case()) if row.id == "retries_real"]
    assert [row.verdict for row in found] == [Verdict.FAIL]
