"""Lanes of measured values: bytes through a link, free space of a volume."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from backupchaos_reports.html.canvas import Canvas, size, trim
from backupchaos_reports.html.marks import Series
from backupchaos_reports.html.palette import paint

GAP = 9
BIN = 3.0
"""Pixels a sample of the link takes at least; samples closer together are added up."""


def link(canvas: Canvas, lane: Series) -> None:
    """Bytes a second through the link as an area; refused connections as crosses below."""
    height = 54.0
    rates = _rates(canvas, lane)
    top = max((rate for _, rate in rates), default=0.0)
    total = sum(value for t, value in lane.samples if canvas.axis.shows(t))
    below = f"0 to {size(top)}/s" if top else "no bytes seen"
    canvas.label(f"link {lane.name}", canvas.y + height / 2 - 4, below)
    canvas.ground(height)
    base = canvas.y + height
    if top:
        steps: list[str] = []
        for number, (x, rate) in enumerate(rates):
            if number == 0 or rate != rates[number - 1][1]:
                steps.append(f"H{trim(x)}V{trim(base - rate / top * (height - 6))}")
        area = f"M{trim(rates[0][0])} {trim(base)}{''.join(steps)}H{trim(rates[-1][0] + BIN)}V{trim(base)}z"
        title = f"{size(total)} through the link, {size(top)}/s at most"
        canvas.add("path", paint("area"), d=area, title=title)
    look = paint("line", stroke=True)
    canvas.add(
        "path",
        look,
        d=f"M{canvas.axis.x(canvas.axis.start):g} {trim(base)}H{canvas.axis.x(canvas.axis.end):g}",
    )
    opened = [mark.t for mark in lane.marks if mark.kind == "good"]
    refused = [mark.t for mark in lane.marks if mark.kind == "bad"]
    canvas.ticks(opened, base + 2, 6, "line", "1.6")
    _crosses(canvas, refused, base + 5)
    canvas.y += height + 9 + GAP


def _rates(canvas: Canvas, lane: Series) -> list[tuple[float, float]]:
    """Bytes a second per bin of the axis; empty bins are zero, since the tap sees every byte."""
    axis = canvas.axis
    first, last = axis.x(axis.start), axis.x(axis.end)
    count = int((last - first) / BIN)
    width = (axis.end - axis.start) / count
    sums = [0.0] * count
    for (t, value), since in zip(lane.samples, lane.since, strict=True):
        if axis.shows(t):
            low, high = (since - axis.start) / width, (t - axis.start) / width
            bins = range(max(0, int(low)), min(int(high), count - 1) + 1)
            for number in bins:
                share = (
                    (min(high, number + 1) - max(low, number)) / (high - low) if high > low else 1 / len(bins)
                )
                sums[number] += value * max(share, 0.0)
    return [(first + number * BIN, value / width) for number, value in enumerate(sums)]


def _crosses(canvas: Canvas, times: Sequence[float], y: float) -> None:
    places = sorted({canvas.axis.x(t) for t in times if canvas.axis.shows(t)})
    if places:
        path = "".join(f"M{trim(x - 3)} {trim(y - 3)}l6 6m0 -6l-6 6" for x in places)
        look = paint("badmark", stroke=True)
        canvas.add(
            "path", look, d=path, stroke_width="1.6", fill="none", title=f"{len(times)} connections refused"
        )


def volume(canvas: Canvas, lane: Series) -> None:
    """Free space as a step line; the lowest and highest of each pixel are kept."""
    height = 44.0
    canvas.ground(height)
    base = canvas.y + height
    inside = [(canvas.axis.x(t), value) for t, value in lane.samples if canvas.axis.shows(t)]
    top = lane.top or 1.0
    canvas.label(f"free {lane.name}", canvas.y + height / 2 - 2, f"0 to {size(lane.top)}")
    grid = (
        f"M{trim(canvas.axis.x(canvas.axis.start))} {trim(base - 2)}H{trim(canvas.axis.x(canvas.axis.end))}"
    )
    canvas.add("path", paint("edge", stroke=True), d=grid, stroke_dasharray="1 3")
    path: list[str] = []
    before, longest = -math.inf, _longest_step(inside)
    for x, values in _by_pixel(inside):
        heights = [
            base - 2 - value / top * (height - 8)
            for value in (values[0], min(values), max(values), values[-1])
        ]
        steps = [f"V{trim(h)}" for n, h in enumerate(heights) if n == 0 or trim(h) != trim(heights[n - 1])]
        hole = x - before > longest  # nobody looked for so long: a gap, not a guess
        path.append((f"M{trim(x)} {trim(heights[0])}" if hole else f"H{trim(x)}") + "".join(steps))
        before = x
    if path:
        low = min(value for _, value in inside)
        title = f"at least {size(low)} free of {size(top)}"
        canvas.add(
            "path", paint("disk", stroke=True), d="".join(path), fill="none", stroke_width="1.8", title=title
        )
    canvas.y += height + GAP


def _by_pixel(points: Sequence[tuple[float, float]]) -> list[tuple[float, list[float]]]:
    found: dict[float, list[float]] = {}
    for x, value in points:
        found.setdefault(round(x, 0), []).append(value)
    return sorted(found.items())


def _longest_step(points: Sequence[tuple[float, float]]) -> float:
    """Pixels between samples above which the line is broken: five times the usual distance."""
    steps = sorted(b[0] - a[0] for a, b in pairwise(points))
    return max(5 * steps[len(steps) // 2], 4.0) if steps else 0.0
