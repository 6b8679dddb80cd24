"""Markdown for a CI page, properties for JUnit, stored runs."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from backupchaos.errors import UsageProblem
from backupchaos_reports.junit import properties
from backupchaos_reports.markdown import LIMIT, escape, step_summary
from backupchaos_reports.runs import load_runs, read_ends

from .fixtures import HOSTILE, campaign, data_loss, hostile, many, passing, store

parser = pytest.mark.needs("python:markdown_it")


def html(text: str) -> str:
    from markdown_it import MarkdownIt

    return str(MarkdownIt("commonmark", {"html": True}).enable("table").enable("strikethrough").render(text))


@parser
def test_the_summary_names_counts_and_shows_what_did_not_pass() -> None:
    page = step_summary([run.result for run in campaign()], report="report.html", anchor=lambda r: r.run_id)
    assert page.startswith("## backupchaos: 5 pass, 2 fail (1 silent data loss, 1 does not recover)")
    shown = html(page)
    assert shown.count("<h3>") == 6
    assert shown.index("silent data loss): sloppy") < shown.index("✗ fail (does not recover)")
    assert len(re.findall(r"<tr>\n<td>[✗?!✓-] ", shown)) == 10
    assert "restore misses 3 of 221" in shown
    assert "does not prove" in shown


@parser
def test_nothing_is_born_from_hostile_text() -> None:
    page = step_summary([hostile().result], report="javascript:x", anchor=lambda _: HOSTILE)
    shown = html(page)
    allowed = {"h2", "h3", "p", "strong", "table", "thead", "tbody", "tr", "th", "td", "pre", "code"}
    assert set(re.findall(r"<(\w+)", shown)) <= allowed
    assert "&lt;script&gt;document.title" in shown
    rows = re.findall(r"<tr>(.*?)</tr>", shown, re.DOTALL)
    assert {len(re.findall("<t[dh]", row)) for row in rows} == {4, 5}
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", page)


@parser
@pytest.mark.parametrize(
    "text", ["[a](http://x)", "http://x.y", "www.x.y", "@me", "$x$", "# a", "1. a", "- a", ":bug:", "~~a~~"]
)
def test_text_means_itself_in_markdown(text: str) -> None:
    assert html(escape(text)).strip() == f"<p>{text}</p>"
    assert not re.search(r"https?://|www\.|[@$~#](?!\d+;)", escape(text))


@parser
def test_a_code_block_cannot_be_closed_from_inside() -> None:
    result = dataclasses.replace(data_loss().result, reproduce="run ```` \n<b>x</b>")
    shown = html(step_summary([result]))
    assert "<b>" not in shown


def test_a_large_summary_is_cut_below_the_limit_and_says_so() -> None:
    page = step_summary([run.result for run in many(60)], limit=8_000)
    assert len(page.encode()) <= 8_000
    assert re.search(r"\*\*Cut here: \d+ of \d+ parts left out", page)
    whole = step_summary([run.result for run in many(60)])
    assert len(whole.encode()) <= LIMIT
    assert "Cut here" not in whole


def test_properties_are_strings_that_xml_can_carry() -> None:
    pairs = properties(hostile().result, report="r\x00.html")
    root = ET.Element("properties")
    for name, value in pairs:
        assert type(name) is str
        assert type(value) is str
        ET.SubElement(root, "property", name=name, value=value)
    read = {p.get("name"): p.get("value") for p in ET.fromstring(ET.tostring(root, encoding="utf-8"))}
    assert read == dict(pairs)


def test_properties_say_what_a_ci_tab_needs() -> None:
    pairs = dict(properties(passing().result, report="report.html"))
    assert pairs["backupchaos.scenario"] == "network_loss"
    assert pairs["backupchaos.target"] == "rclone"
    assert pairs["backupchaos.verdict"] == "pass"
    assert pairs["backupchaos.outcome"] == "success"
    assert pairs["backupchaos.retries"] == "5"
    assert pairs["backupchaos.final_state"] == "SUCCESS"
    assert pairs["backupchaos.faults"] == "cut=network.down:repository"
    assert pairs["backupchaos.seed"] == "7"
    assert pairs["backupchaos.report"] == "report.html"


def test_stored_runs_come_back_equal(tmp_path: Path) -> None:
    for number, run in enumerate(campaign()):
        store(run, tmp_path / f"run{number}")
    loaded = load_runs([tmp_path])
    assert [run.result for run in loaded] == [run.result for run in campaign()]
    assert list(loaded[0].events) == list(campaign()[0].events)
    assert loaded[0].log_head_tail == campaign()[0].log_head_tail
    assert load_runs([tmp_path / "run5"])[0].result.severity == "data_loss"


def test_secrets_are_redacted_from_result_history_and_log(tmp_path: Path) -> None:
    store(data_loss(), tmp_path / "run")
    run = load_runs([tmp_path], secrets=["3f2a9c01"])[0]
    everything = f"{run.result} {list(run.events)} {run.log_head_tail}"
    assert "3f2a9c01" not in everything
    assert everything.count("[redacted]") > 4


def test_a_directory_without_runs_and_a_damaged_result_are_located(tmp_path: Path) -> None:
    with pytest.raises(UsageProblem, match="no run found"):
        load_runs([tmp_path])
    (tmp_path / "results.json").write_text("{")
    with pytest.raises(UsageProblem, match=r"results\.json: cannot read results"):
        load_runs([tmp_path])


def test_a_result_cannot_point_outside_its_directory(tmp_path: Path) -> None:
    (tmp_path / "secret.log").write_text("outside")
    run = passing()
    store(
        dataclasses.replace(run, result=dataclasses.replace(run.result, log="../secret.log")),
        tmp_path / "run",
    )
    assert load_runs([tmp_path / "run"])[0].log_head_tail is None


def test_a_long_log_is_read_at_both_ends_only(tmp_path: Path) -> None:
    log = tmp_path / "job.log"
    log.write_bytes(b"first\xff" + b"x" * 100_000 + b"last")
    text = read_ends(log, head=10, tail=10)
    assert text is not None
    assert text.startswith("first\udcffxxxx\n… 99,990 bytes left out here")
    assert text.endswith("xxxxxxlast")
