"""The figure: what it shows, and that all lanes share one axis."""

from __future__ import annotations

import dataclasses
import re
from xml.etree import ElementTree as ET

import pytest

from backupchaos.history import Event
from backupchaos_reports.html.figure import draw
from backupchaos_reports.html.marks import Timeline
from backupchaos_reports.html.palette import COLOURS
from backupchaos_reports.html.timeline import fold
from backupchaos_reports.html.timerows import rows
from backupchaos_reports.runs import StoredRun

from .fixtures import MIB, Tape, data_loss, hostile, invalid, passing, skipped, wedged


def timeline(run: StoredRun) -> Timeline:
    line = fold(run.result, run.events)
    assert line is not None
    return line


def figure(run: StoredRun) -> ET.Element:
    return ET.fromstring(draw(run.result, timeline(run), "a"))


def place(svg: ET.Element, t: float) -> float:
    """Where a time must be, from the axis that the figure itself declares."""
    start, end, left, right, _ = map(float, svg.attrib["data-axis"].split())
    return left + (t - start) / (end - start) * (right - left)


def strokes(svg: ET.Element, colour: str) -> list[float]:
    paths = [e.attrib["d"] for e in svg.iter("path") if e.get("class") == f"s-{colour}"]
    return [float(x) for path in paths for x in re.findall(r"M(-?[\d.]+) [\d.]+v", path)]


def lane(svg: ET.Element, name: str) -> list[ET.Element]:
    return [e for e in svg.iter() if e.get("data-lane") == name]


def test_one_event_has_one_place_in_every_lane() -> None:
    run = passing()
    svg = figure(run)
    (bar,) = [e for e in lane(svg, "fault") if e.get("class") == "f-on"]
    (band,) = lane(svg, "band")
    for edge in (bar, band):
        assert float(edge.attrib["x"]) == pytest.approx(place(svg, 15.15), abs=0.06)
        assert float(edge.attrib["x"]) + float(edge.attrib["width"]) == pytest.approx(
            place(svg, 33.15), abs=0.11
        )
    retries = [r.t for r in run.result.retries]
    circles = [float(e.attrib["cx"]) for e in lane(svg, "attempt")]
    warnings = strokes(svg, "warnmark")
    for t, x in zip(retries, circles, strict=False):
        assert x == pytest.approx(place(svg, t), abs=0.06)
    for t in retries[:4]:
        assert min(abs(x - place(svg, t)) for x in warnings) <= 0.06
    proofs = [e.t for e in run.events if e.get("ev") in {"fault_hit", "refused"}]
    assert len(proofs) == 5
    assert strokes(svg, "proof") == pytest.approx([place(svg, t) for t in proofs], abs=0.06)


def test_the_band_reaches_through_all_lanes() -> None:
    svg = figure(data_loss())
    (band,) = lane(svg, "band")
    bottom = float(svg.attrib["data-axis"].split()[-1])
    assert float(band.attrib["y"]) + float(band.attrib["height"]) == pytest.approx(bottom)


def test_the_axis_covers_fault_job_recovery_and_short_verification() -> None:
    run = passing()
    line = timeline(run)
    ends = {e["job"]: e.t for e in run.events if e.kind == "job.end"}
    assert 8.0 < line.start < 9.2
    assert line.end > ends["recovery"]
    assert line.end == pytest.approx(run.events[-1].t, abs=1)
    slow = [*run.events, Event(9999, 500.0, "restore", {"which": "newest", "returncode": 0})]
    cut = fold(run.result, slow)
    assert cut is not None
    assert ends["recovery"] < cut.end < 60
    assert "500.0 s" in cut.notices[0]


def test_measured_gaps_between_retries_are_written_in_seconds() -> None:
    words = [e.text for e in figure(passing()).iter("text")]
    for gap in ("2.1 s", "4.1 s", "8.1 s"):
        assert gap in words


def test_a_retry_in_the_log_is_a_failure_and_the_end_is_the_jobs() -> None:
    run = passing()
    marks = timeline(run).attempts["log"]
    assert [mark.kind for mark in marks] == ["bad"] * 5 + ["end-good"]
    assert marks[-1].t == run.result.jobs[1].ended


def test_a_retry_seen_on_the_link_may_itself_be_the_good_one() -> None:
    run = passing()
    seen = tuple(dataclasses.replace(r, source="link") for r in run.result.retries)
    good = (*seen[:-1], dataclasses.replace(seen[-1], cause="connection attempt"))
    for retries, kinds in ((seen, ["bad"] * 5 + ["end-good"]), (good, ["bad"] * 4 + ["good"])):
        line = timeline(StoredRun(dataclasses.replace(run.result, retries=retries), run.events))
        assert [mark.kind for mark in line.attempts["link"]] == kinds


def test_a_fault_that_never_began_has_no_window_and_no_band() -> None:
    line = timeline(invalid())
    assert line.faults[0].windows == []
    assert line.faults[0].proofs == []
    assert lane(figure(invalid()), "band") == []
    assert "in force never, met 0 times" in "".join(figure(invalid()).find("desc").itertext())  # type: ignore[union-attr]


def test_without_a_history_the_result_still_gives_the_fault_window() -> None:
    run = data_loss()
    line = fold(run.result, [])
    assert line is not None
    (window,) = line.faults[0].windows
    assert (window.start, window.end) == (13.0, 19.0)


def test_a_run_that_never_reached_the_fault_has_no_figure() -> None:
    assert fold(skipped().result, []) is None


def test_link_counts_are_totals_of_the_link_and_a_closing_connection_is_not_counted_twice() -> None:
    tape = Tape()
    tape.add(1.0, "job.start", job="fault")
    tape.add(1.1, "link", link="repository", ev="bytes", conn=0, up=100, down=10)
    tape.add(1.2, "link", link="repository", ev="bytes", conn=0, up=300, down=10)
    tape.add(1.3, "link", link="repository", ev="close", conn=1, up=320, down=10, total_up=320, total_down=10)
    tape.add(1.4, "link", link="repository", ev="mark", conn=0, up=320, down=10)
    tape.add(2.0, "job.end", job="fault", returncode=0, outcome="success")
    line = fold(dataclasses.replace(passing().result, jobs=()), tape.events())
    assert line is not None
    assert [value for _, value in line.links[0].samples] == [110, 200, 20]


def test_states_are_those_that_were_judged_and_recovery_has_one_voice() -> None:
    run = passing()
    noise = [
        Event(9000 + n, 60.0, "state", {"job": "fault", "state": "FAILED", "source": "live"})
        for n in range(2)
    ]
    told = [
        Event(
            9100, 49.0, "state", {"job": "recovery", "state": "VERIFYING", "source": "job", "entered": 44.0}
        )
    ]
    shown = [span.label for span in timeline(StoredRun(run.result, [*run.events, *noise])).states]
    assert shown == ["PENDING", "RUNNING", "RETRYING", "RUNNING", "SUCCESS", "PENDING", "RUNNING", "SUCCESS"]
    asked = timeline(StoredRun(run.result, [*run.events, *told])).states
    assert (asked[-1].label, asked[-1].start) == ("VERIFYING", 44.0)


def test_a_fault_that_was_there_before_the_job_is_on_the_axis() -> None:
    run = data_loss()
    early = Event(9000, 8.9, "fault", {"name": "early", "status": "applied", "fault": "file.locked"})
    line = timeline(StoredRun(run.result, [*run.events, early]))
    assert line.start < 8.9


def test_what_another_link_refused_is_no_contact_with_this_links_fault() -> None:
    run = passing()
    before = timeline(run).faults[0].proofs
    other = Event(9100, 16.0, "link", {"link": "catalog", "ev": "refused", "count": 1})
    own = Event(9101, 16.1, "link", {"link": "repository", "ev": "refused", "count": 1})
    line = timeline(StoredRun(run.result, sorted([*run.events, other, own], key=lambda e: e.t)))
    assert [mark.t for mark in line.faults[0].proofs if mark not in before] == [16.1]


def test_retries_of_several_links_say_whose_they_are() -> None:
    run = passing()
    assert all(" on " not in mark.label for mark in timeline(run).attempts["log"][:-1])
    first, *rest = run.result.retries
    named = (dataclasses.replace(first, link="catalog"), *rest)
    marks = timeline(StoredRun(dataclasses.replace(run.result, retries=named), run.events)).attempts["log"]
    assert marks[0].label.startswith("retry 1 on catalog: ")


def test_an_instant_fault_is_a_point() -> None:
    run = data_loss()
    fault = dataclasses.replace(
        run.result.faults[0], name="kill", kind="process.kill", started=14.0, ended=14.0
    )
    events = [e for e in run.events if e.kind != "fault"]
    events.append(Event(9000, 14.0, "fault", {"name": "kill", "status": "applied", "fault": "process.kill"}))
    line = timeline(StoredRun(dataclasses.replace(run.result, faults=(fault,)), events))
    (window,) = line.faults[0].windows
    assert (window.start, window.end) == (14.0, 14.0)


def test_the_area_under_the_link_is_what_went_through() -> None:
    from backupchaos_reports.html.canvas import Axis, Canvas
    from backupchaos_reports.html.plots import _rates

    line = timeline(passing())
    axis = Axis(line.start, line.end)
    rates = _rates(Canvas(axis), line.links[0])
    width = (axis.end - axis.start) / len(rates)
    moved = sum(value for t, value in line.links[0].samples if axis.shows(t))
    assert sum(rate * width for _, rate in rates) == pytest.approx(moved, rel=0.001)
    assert moved > 10 * MIB


def test_a_hole_in_the_samples_of_a_volume_is_not_bridged() -> None:
    tape = Tape()
    tape.add(0.0, "job.start", job="fault")
    for t in (0.0, 0.5, 1.0, 1.5, 8.0, 8.5, 9.0):
        tape.add(t, "volume", place="repository", free=int(t * 100), total=1000)
    tape.add(10.0, "job.end", job="fault", returncode=0, outcome="success")
    run = StoredRun(dataclasses.replace(passing().result, jobs=(), faults=(), retries=()), tape.events())
    (path,) = [e.attrib["d"] for e in figure(run).iter("path") if e.get("class") == "s-disk"]
    assert path.count("M") == 2


def test_the_text_table_has_the_figures_numbers() -> None:
    run = data_loss()
    found, total = rows(run.events, 500)
    assert total == len(found)
    applied = next(row for row in found if row.what == "fault" and "applied" in row.detail)
    assert applied.t == timeline(run).faults[0].windows[0].start
    (calls,) = [row for row in found if row.what == "syscall"]
    assert calls.detail.startswith("41 times")
    assert calls.t == 13.05
    assert calls.until == pytest.approx(17.85)
    assert [row.detail for row in found if row.what == "bite"] == ["fill: ENOSPC returned 41 times"]
    assert [row.t for row in found] == sorted(row.t for row in found)
    cut, count = rows(run.events, 10)
    assert (len(cut), count) == (10, total)


def test_a_claim_of_success_is_not_drawn_as_good() -> None:
    marks = {mark.label: mark.kind for mark in timeline(data_loss()).checkpoints}
    assert marks["fault job claims success, exit 0"] == "open"
    assert marks["restore newest: 218 identical, 3 missing"] == "bad"
    assert {m.label: m.kind for m in timeline(wedged()).checkpoints}["recovery job fails, exit 1"] == "bad"


def test_odd_events_are_left_out_not_guessed() -> None:
    run = passing()
    odd = [Event(0, float("nan"), "volume", {"free": 1}), Event(1, 10.0, "volume", {"free": float("inf")})]
    odd += [Event(2, 10.0, "volume", {"free": True}), Event(3, 10.0, "link", {"up": "much", "down": -5})]
    line = fold(run.result, [*run.events, *odd])
    assert line is not None
    assert line.volumes == []
    draw(run.result, timeline(hostile()), "h")


def luminance(colour: str) -> float:
    full = colour[1:] if len(colour) == 7 else "".join(c * 2 for c in colour[1:])
    parts = [int(full[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, two: str) -> float:
    high, low = sorted((luminance(one), luminance(two)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("mode", [0, 1], ids=["light", "dark"])
def test_text_in_the_figure_can_be_read(mode: int) -> None:
    colours = {name: pair[mode] for name, pair in COLOURS.items()}
    for ground in ("phase", "on", "idle", "run", "retry", "good", "bad", "other", "lane", "band"):
        assert contrast(colours["ink"], colours[ground]) >= 4.5, ground
    for ground in ("lane", "band"):
        assert contrast(colours["soft"], colours[ground]) >= 4.5, ground
    page = ("#ffffff", "#141a21")[mode]
    for mark in ("goodmark", "badmark", "warnmark", "proof", "line", "disk"):
        assert contrast(colours[mark], page) >= 4.5, mark
