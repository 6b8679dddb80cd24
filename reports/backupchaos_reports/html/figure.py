"""The figure of a run: all lanes on one axis, as one SVG element that needs no style sheet."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from backupchaos.results import RunResult
from backupchaos_reports.html import lanes, plots
from backupchaos_reports.html.canvas import GUTTER, RIGHT, WIDTH, Axis, Canvas, trim
from backupchaos_reports.html.marks import Timeline
from backupchaos_reports.html.palette import paint
from backupchaos_reports.text import visible


def draw(result: RunResult, line: Timeline, anchor: str) -> str:
    """The SVG as text. ``anchor`` makes the ids in it unique on the page."""
    axis = Axis(line.start, line.end)
    canvas = Canvas(axis)
    _lanes(canvas, line)
    top, bottom = 2.0, canvas.y
    lanes.bands(canvas, line.faults, top, bottom)
    _grid(canvas, top, bottom)
    height = bottom + 34
    svg = ET.Element(
        "svg",
        {
            "viewBox": f"0 0 {WIDTH} {trim(height)}",
            "width": str(WIDTH),
            "height": trim(height),
            "role": "img",
            "aria-labelledby": f"{anchor}-st {anchor}-sd",
            "font-family": "system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif",
            "font-size": "12",
            "data-axis": f"{axis.start:.4f} {axis.end:.4f} {axis.x(axis.start):g} {axis.x(axis.end):g} {trim(bottom)}",
        },
    )
    name = f"{visible(result.target, 80)} × {visible(result.scenario, 80)}"
    ET.SubElement(svg, "title", {"id": f"{anchor}-st"}).text = f"Timeline of {name}"
    ET.SubElement(svg, "desc", {"id": f"{anchor}-sd"}).text = _describe(line)
    _hatch(svg, anchor)
    svg.append(canvas.back)
    svg.append(canvas.front)
    return ET.tostring(svg, encoding="unicode").replace("url(#hatch)", f"url(#{anchor}-hatch)")


def _lanes(canvas: Canvas, line: Timeline) -> None:
    """Only the lanes that have something to say; the log always, since silence says something."""
    if line.phases:
        lanes.phases(canvas, line.phases)
    for fault in line.faults:
        lanes.fault(canvas, fault)
    if line.states:
        lanes.states(canvas, line.states)
    for source, marks in line.attempts.items():
        lanes.attempts(canvas, source, marks)
    for link in line.links:
        plots.link(canvas, link)
    for volume in line.volumes:
        plots.volume(canvas, volume)
    if line.syscalls:
        lanes.syscalls(canvas, line.syscalls)
    lanes.log(canvas, line.log)
    if line.checkpoints:
        lanes.checkpoints(canvas, line.checkpoints)


def _grid(canvas: Canvas, top: float, bottom: float) -> None:
    """Lines at round times through all lanes, and the axis below."""
    axis = canvas.axis
    left, right = axis.x(axis.start), axis.x(axis.end)
    path = "".join(f"M{trim(axis.x(t))} {trim(top)}V{trim(bottom + 4)}" for t in axis.ticks())
    canvas.add("path", {**paint("grid", stroke=True), "stroke-width": "1"}, back=True, d=path, fill="none")
    canvas.add("path", paint("edge", stroke=True), d=f"M{trim(left)} {trim(bottom)}H{trim(right)}")
    last = -100.0
    for t in axis.ticks():
        x = axis.x(t)
        if x - last > 40 and x < WIDTH - RIGHT - 4:
            canvas.text(x, bottom + 16, f"{t:g} s", "soft", text_anchor="middle")
            last = x
    canvas.text(GUTTER, bottom + 30, "seconds since the run began", "soft", font_size="10.5")


def _hatch(svg: ET.Element, anchor: str) -> None:
    pattern = {"id": f"{anchor}-hatch", "width": "5", "height": "5", "patternUnits": "userSpaceOnUse"}
    hatch = ET.SubElement(ET.SubElement(svg, "defs"), "pattern", pattern)
    ET.SubElement(hatch, "path", {**paint("on", stroke=True), "d": "M-1 6L6 -1", "stroke-width": "1.6"})


def _describe(line: Timeline) -> str:
    """What the figure shows, for those who do not see it; the table below has all numbers."""
    parts = [f"From {line.start:.1f} to {line.end:.1f} seconds."]
    for fault in line.faults:
        spans = [f"{s.start:.2f} to {s.end:.2f} s" for s in fault.windows]
        proofs = f", met {len(fault.proofs)} times; proof: {'; '.join(fault.words) or 'none'}"
        parts.append(f"Fault {fault.name} in force {' and '.join(spans) or 'never'}{proofs}.")
    if line.states:
        parts.append(
            "Job states: " + ", ".join(f"{s.label} at {s.start:.2f} s" for s in line.states[:20]) + "."
        )
    for source, marks in line.attempts.items():
        parts.append(f"{len(marks)} attempts seen in the {source}.")
    return " ".join(parts)
