"""Gaps between retries are those of one trouble: the work in between is none."""

from __future__ import annotations

import pytest
from tests.unit.checks.cases import PROFILE, scenario

from backupchaos.checks.case import Case
from backupchaos.checks.gaps import WORK, backoff
from backupchaos.history import Event
from backupchaos.results import CheckResult, Retry, Verdict


def judged(
    tries: list[float], sent: list[tuple[float, int]], *, link: str = "repository", also: str = ""
) -> CheckResult:
    carried = [("repository", t, total) for t, total in sent]
    carried += [(also, t, total) for t, total in [(0.5, 0), (5.5, WORK)] if also]
    events = [
        Event(n, t, "link", {"ev": "bytes", "link": name, "up": total})
        for n, (name, t, total) in enumerate(carried)
    ]
    return backoff(
        Case(scenario(), PROFILE, events), [Retry(t, "log", "", None, link) for t in tries], "as_declared"
    )


AT_WORK = [(0.5, 0), (5.0, WORK)]


@pytest.mark.parametrize("link", ["repository", ""])
def test_the_work_between_two_troubles_is_no_gap_that_grows(link: str) -> None:
    row = judged([1.0, 1.1, 1.2, 6.0], AT_WORK, link=link)
    assert row.verdict is Verdict.FAIL, "without a pause, and then one retry of another trouble"
    assert row.observed == "0.10 0.10 s"


def test_a_second_trouble_begins_with_short_gaps_again() -> None:
    row = judged([1.0, 6.0, 6.1, 6.3, 6.7], AT_WORK)
    assert row.verdict is Verdict.PASS
    twice = judged([1.0, 1.1, 1.3, 6.0, 6.1, 6.3], AT_WORK)
    assert (twice.verdict, twice.observed) == (Verdict.PASS, "0.10 0.20 s, then 0.10 0.20 s")
    assert judged([1.0, 1.1, 1.3, 6.0, 6.1, 6.2], AT_WORK).verdict is Verdict.FAIL


def test_single_retries_of_several_troubles_show_nothing() -> None:
    row = judged([1.0, 6.0, 12.0], [*AT_WORK, (8.0, 2 * WORK)])
    assert row.verdict is Verdict.UNVERIFIED
    assert "3 retries" in row.observed


def test_a_greeting_is_no_work() -> None:
    assert judged([1.0, 1.1, 1.3], [(0.5, 0), (1.15, 60_000)]).verdict is Verdict.PASS


def test_what_another_link_carries_is_no_work_of_this_one() -> None:
    assert judged([1.0, 1.1, 1.2, 6.0], AT_WORK, link="catalog").verdict is Verdict.PASS


def test_where_several_links_work_retries_without_a_name_are_of_one_trouble() -> None:
    assert judged([1.0, 1.1, 1.2, 6.0], AT_WORK, link="", also="catalog").verdict is Verdict.PASS
