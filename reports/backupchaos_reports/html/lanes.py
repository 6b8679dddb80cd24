"""Lanes of bars and marks: each draws at ``canvas.y`` and moves it down."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from backupchaos.durations import measured
from backupchaos_reports.html.canvas import Canvas, fitted, text_width, trim
from backupchaos_reports.html.marks import FaultLane, Mark, Span
from backupchaos_reports.html.palette import paint

GAP = 9
BOLD = 1.18
CHECKPOINT_ROWS = 6
_STATE_LOOK = {"PENDING": "idle", "RUNNING": "run", "RETRYING": "retry", "SUCCESS": "good", "FAILED": "bad"}
_PHASE_WORDS = {"fault": "job under fault", "recover": "recovery job"}
_SYMBOL = {"good": "✓", "bad": "✗", "open": "·"}


def seconds(value: float) -> str:
    """A duration that fits between two marks: ``0.25 s``, ``8.0 s``, and as everywhere from a minute on."""
    return f"{value:.1f} s" if 1 <= value < 59.95 else measured(value)


def _segment(canvas: Canvas, span: Span, height: float, colour: str, words: str) -> None:
    """A bar with its name inside, if it fits."""
    if span.end < canvas.axis.start or span.start > canvas.axis.end:
        return
    left, right, y = canvas.axis.x(span.start), canvas.axis.x(span.end), canvas.y
    title = f"{words}: {span.start:.2f} s to {span.end:.2f} s"
    wide = max(right - left - 1, 1.5)
    canvas.add("rect", paint(colour), title=title, x=left, y=y, width=wide, height=height, rx="3")
    inside = fitted(words, (wide - 12) / BOLD)
    if inside and (inside == words or len(inside) > 4):
        canvas.text(left + 7, y + height / 2 + 4, inside, font_weight="600")


def phases(canvas: Canvas, spans: Sequence[Span]) -> None:
    """What the harness was doing."""
    for span in spans:
        _segment(canvas, span, 17, "phase", _PHASE_WORDS.get(span.kind, span.label))
    canvas.label("phase", canvas.y + 8)
    canvas.y += 17 + GAP


def fault(canvas: Canvas, lane: FaultLane) -> None:
    """Armed (thin), moving (hatched), in force (full); below it a tick for every proof that it bit."""
    axis, y, height = canvas.axis, canvas.y, 22.0
    canvas.label(lane.name, y + 11, lane.label)
    for span in lane.spans:
        if span.end < axis.start or span.start > axis.end:
            continue
        left, right = axis.x(span.start), axis.x(span.end)
        title = f"{lane.name} {span.label}: {span.start:.2f} s to {span.end:.2f} s"
        if span.kind == "armed":
            look = paint("edge", stroke=True)
            canvas.add(
                "path",
                look,
                d=f"M{trim(left)} {trim(y + 11)}H{trim(right)}",
                stroke_dasharray="2 3",
                title=title,
            )
            if right - left > text_width("armed") + 10:
                canvas.text(left + 4, y + 7, "armed", "soft", font_size="10.5")
        elif right - left < 1.5 and span.kind == "on":
            canvas.diamond(span.start, y + 11, "proof", title, 7)
            canvas.text(left + 12, y + 15, "at " + seconds(span.start), font_weight="600")
        else:
            _window(canvas, lane, span, (left, right), title)
    _proofs(canvas, lane, y + height + 2)
    canvas.y += height + (13 if lane.proofs or lane.words else 0) + GAP


def _window(canvas: Canvas, lane: FaultLane, span: Span, at: tuple[float, float], title: str) -> None:
    left, right = at
    look = {"fill": "url(#hatch)", "class": "hatch"} if span.kind == "moving" else paint("on")
    wide = max(right - left, 1.0)
    canvas.add("rect", look, title=title, x=left, y=canvas.y, width=wide, height=22.0, data_lane="fault")
    if span.kind != "on":
        return
    length = seconds(span.end - span.start)
    for words in (f"{lane.name} in force for {length}", f"in force {length}", length):
        if text_width(words) + 14 <= wide:
            canvas.text(left + 7, canvas.y + 15, words, font_weight="600")
            return
    beside = fitted(f"in force {length}", canvas.axis.x(canvas.axis.end) - right - 10)
    canvas.text(right + 6, canvas.y + 15, beside, font_weight="600")


def _proofs(canvas: Canvas, lane: FaultLane, y: float) -> None:
    """A tick for each moment at which the job met the fault, and the proof in words."""
    times = [mark.t for mark in lane.proofs]
    canvas.ticks(times, y, 7, "proof", "1.6")
    starts = [*times, *(window.start for window in lane.windows)]
    words = "; ".join(lane.words) or (f"{len(times)} × {lane.proofs[0].label}" if times else "")
    if words and starts:
        at = canvas.axis.x(max(starts)) + 7
        room = canvas.axis.x(canvas.axis.end) - at
        canvas.text(at, y + 8, fitted(words, room * 1.1), "soft", font_size="10.5")  # smaller type


def bands(canvas: Canvas, lanes: Sequence[FaultLane], top: float, bottom: float) -> None:
    """The time a fault was in force, behind all lanes."""
    for lane in lanes:
        for span in lane.windows:
            if span.end >= canvas.axis.start and span.start <= canvas.axis.end:
                left = canvas.axis.x(span.start)
                wide = max(canvas.axis.x(span.end) - left, 1.0)
                look = {**paint("band"), "opacity": "0.55"}
                canvas.add(
                    "rect", look, back=True, x=left, y=top, width=wide, height=bottom - top, data_lane="band"
                )


def states(canvas: Canvas, spans: Sequence[Span]) -> None:
    """The job's states, in words."""
    for span in spans:
        _segment(canvas, span, 24, _STATE_LOOK.get(span.kind, "other"), span.label)
    canvas.label("job state", canvas.y + 12)
    canvas.y += 24 + GAP


def attempts(canvas: Canvas, source: str, marks: Sequence[Mark]) -> None:
    """Each failed attempt and how it ended, with the measured gaps between the retries."""
    shown = [mark for mark in marks if canvas.axis.shows(mark.t)]
    y = canvas.y + 17
    canvas.label("attempts", y - 3, f"seen in the {source}")
    if len(shown) > 1:
        path = f"M{trim(canvas.axis.x(shown[0].t))} {trim(y)}H{trim(canvas.axis.x(shown[-1].t))}"
        canvas.add("path", paint("edge", stroke=True), d=path, stroke_dasharray="3 3")
    for before, mark in pairwise(mark for mark in shown if not mark.kind.startswith("end-")):
        words = seconds(mark.t - before.t)
        left, right = canvas.axis.x(before.t), canvas.axis.x(mark.t)
        if right - left > text_width(words) + 2:
            canvas.text((left + right) / 2, y - 8, words, "soft", text_anchor="middle", font_size="10.5")
    last = -100.0
    for mark in shown:
        x = canvas.axis.x(mark.t)
        if x - last < 2 and mark is not shown[-1]:
            continue  # hundreds of attempts: one mark per two pixels
        last = x
        kind = mark.kind.removeprefix("end-")
        colour = {"good": "goodmark", "bad": "badmark"}.get(kind, "soft")
        title = f"{mark.label} at {mark.t:.2f} s"
        canvas.add("circle", paint(colour), cx=x, cy=y, r=6.5, title=title, data_lane="attempt")
        look = {"fill": "#fff", "class": "on-mark"}
        sign = canvas.add(
            "text", look, x=x, y=y + 3.5, text_anchor="middle", font_size="9", font_weight="700"
        )
        sign.text = _SYMBOL.get(kind, "·")
    canvas.y += 27 + GAP


def syscalls(canvas: Canvas, marks: Sequence[Mark]) -> None:
    """System calls that the supervisor acted on."""
    canvas.label("system calls", canvas.y + 6)
    canvas.ticks([mark.t for mark in marks], canvas.y, 12, "proof")
    canvas.y += 12 + GAP


def log(canvas: Canvas, levels: dict[str, list[float]]) -> None:
    """A tick for each record, one row per level."""
    looks = {"info": "soft", "warning": "warnmark", "error": "badmark"}
    for level, times in levels.items():
        inside = [t for t in times if canvas.axis.shows(t)]
        canvas.ground(12)
        canvas.label(f"log {level}", canvas.y + 6)
        canvas.ticks(inside, canvas.y + 1, 10, looks[level], "1" if level == "info" else "1.8")
        if not inside:
            canvas.text(canvas.axis.x(canvas.axis.start) + 6, canvas.y + 10, "none", "soft", font_size="10.5")
        canvas.y += 15
    canvas.y += GAP - 3


def checkpoints(canvas: Canvas, marks: Sequence[Mark]) -> None:
    """Ends of jobs, restores, commands: diamonds, with words where there is room."""
    looks = {"good": "goodmark", "bad": "badmark"}
    shown = [mark for mark in marks if canvas.axis.shows(mark.t)]
    limits = canvas.axis.x(canvas.axis.start), canvas.axis.x(canvas.axis.end)
    taken: list[tuple[int, float, float]] = []
    canvas.label("checkpoints", canvas.y + 7)
    used = 1
    for mark in sorted(shown, key=lambda mark: (mark.kind != "bad", mark.t)):  # failures get room first
        x = canvas.axis.x(mark.t)
        words = f"{_SYMBOL[mark.kind]} {mark.label}" if mark.kind in looks else mark.label
        row, left, anchor = _place(x, text_width(words), taken, limits)
        taken.append((row, min(x - 8, left), max(x + 8, left + text_width(words)) if anchor else x + 8))
        used = max(used, row + 1)
        y = canvas.y + 7 + 16 * row
        canvas.diamond(mark.t, y, looks.get(mark.kind, "soft"), f"{mark.label} at {mark.t:.2f} s")
        if anchor:
            at = x + 9 if anchor == "start" else x - 9
            canvas.text(at, y + 4, words, text_anchor=anchor)
    canvas.y += 16 * used + GAP


def _place(
    x: float, wide: float, taken: Sequence[tuple[int, float, float]], limits: tuple[float, float]
) -> tuple[int, float, str]:
    """The first of a few rows where a mark and its words touch nothing: (row, left, anchor).

    The anchor is "" where there is no room for words; the mark itself is always drawn.
    """
    for row in range(CHECKPOINT_ROWS):
        for left, anchor in ((x + 9, "start"), (x - 9 - wide, "end")):
            low, high = min(x - 8, left), max(x + 8, left + wide)
            inside = low >= limits[0] and high <= limits[1] + 8
            if inside and all(r != row or high < a or low > b for r, a, b in taken):
                return row, left, anchor
    return 0, x, ""
