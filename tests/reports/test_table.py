"""The terminal: the expectations table, the failure paragraph, the summary."""

from __future__ import annotations

import dataclasses
import re

import pytest

from backupchaos.results import CheckResult, Verdict
from backupchaos_reports.table import expectations_table, failure_text, summary, terminal_width, wrap
from backupchaos_reports.text import columns

from .fixtures import campaign, data_loss, hostile, invalid, passing, wedged


@pytest.mark.parametrize("width", [60, 80, 133])
def test_nothing_is_wider_than_the_terminal(width: int) -> None:
    for run in (data_loss(), wedged(), passing(), hostile()):
        table = expectations_table(run.result.checks, width=width)
        assert max(columns(line) for line in table.split("\n")) <= width


def test_rows_that_fail_come_first_then_unverified_then_pass() -> None:
    lines = expectations_table(data_loss().result.checks[::-1], width=120).split("\n")
    shown = [verdict for line in lines for verdict in re.findall(r"(?:✗|\?|✓) (\w+)$", line)]
    assert shown == ["fail", "fail", "fail", "unverified", "pass", "pass"]


def test_observed_is_never_empty_and_a_reason_is_shown() -> None:
    check = CheckResult("log", "log", "", "", Verdict.UNVERIFIED, reason="not UTF-8")
    assert "nothing was recorded (not UTF-8)" in expectations_table([check], width=100)
    assert expectations_table([], width=100) == "no expectation was evaluated"


def test_colour_only_if_asked_and_the_word_is_always_there() -> None:
    result = data_loss().result
    assert "\x1b" not in failure_text(result, width=100)
    coloured = failure_text(result, width=100, colour=True)
    assert "\x1b[1;31m✗ fail\x1b[0m" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == failure_text(result, width=100)


def test_the_width_is_the_environments_but_never_under_sixty(monkeypatch: pytest.MonkeyPatch) -> None:
    for given, expected in (("72", 72), ("20", 60), ("wide", 100), ("", 100), ("²", 100)):
        monkeypatch.setenv("COLUMNS", given)
        assert terminal_width() == expected


def test_a_failure_says_what_why_the_restore_what_to_try_and_where() -> None:
    text = failure_text(data_loss().result, width=100, report="out/report.html#sloppy--disk_full--7")
    head, *rest = text.split("\n")
    assert head.startswith("FAIL [silent data loss] sloppy 0.4.2 × disk_full (seed 7): The job said success")
    body = " ".join("\n".join(rest).split())
    for part in (
        "--> scenarios/disk_full.yaml",
        "= because: The repository's disk had 0 B free",
        "3 missing, 0 different, 0 extra",
        "= first: missing: dir1/file031.bin",
        "= waived: recoverable:",
        "= try: ",
        "evidence history.jsonl seq 200, 260 job.log",
        "report out/report.html#sloppy--disk_full--7",
        "replay backupchaos run disk_full --target sloppy --seed 7",
    ):
        assert part in body


def test_without_an_explanation_the_proof_and_the_reasons_explain() -> None:
    assert "ENOSPC returned 41 times; stale lock" in " ".join(
        failure_text(wedged().result, width=200).split()
    )


def test_hostile_text_reaches_the_terminal_only_as_tokens() -> None:
    result = hostile().result
    skipped = dataclasses.replace(result, verdict=Verdict.SKIPPED)
    for text in (failure_text(result, report="x\x1b]0;"), "".join(summary([skipped]))):
        assert "␛" in text
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\ud800-\udfff]", text)


def test_the_summary_counts_everything_and_names_what_is_not_covered() -> None:
    lines = summary([run.result for run in campaign()], report="report.html", width=200)
    assert lines[0] == (
        "10 runs: 5 pass, 2 fail (1 silent data loss, 1 does not recover), 1 unverified, 1 invalid, 1 skipped"
    )
    assert "not covered: 2 of 10 runs" in lines
    assert any(
        "skipped: fuse: /dev/fuse cannot be opened here [rclone × torn_pages]" in line for line in lines
    )
    assert any("invalid: The fault never bit" in line for line in lines)
    assert lines[-1] == "report: report.html"
    assert summary([], width=80) == ["0 runs: nothing was run"]


def test_a_failed_restore_outranks_one_that_could_not_be_judged() -> None:
    result = data_loss().result
    unjudged = dataclasses.replace(result.restores[0], performed=False, reason="no snapshot")
    text = failure_text(dataclasses.replace(result, restores=(unjudged, result.restores[1])), width=200)
    assert "= restore: newest snapshot" in text


def test_an_invalid_run_blames_the_set_up_not_the_tool() -> None:
    assert failure_text(invalid().result, width=200).startswith("INVALID lockbox")
    assert "says nothing about the tool" in failure_text(invalid().result, width=200)


def test_words_longer_than_the_line_are_broken() -> None:
    assert wrap("ab " + "x" * 25, 10) == ["ab", "x" * 10, "x" * 10, "x" * 5]
    assert wrap("文" * 6, 5) == ["文文", "文文", "文文"]
    assert wrap("", 10) == [""]
