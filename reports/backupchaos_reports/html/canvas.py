"""The drawing surface: one time axis for all lanes, and elements that escape what they hold.

Elements are built with ElementTree, so no text from a run can become markup.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from backupchaos_reports.html.palette import paint
from backupchaos_reports.text import columns

WIDTH = 1120
GUTTER = 170
RIGHT = 14
_GLYPH = 6.9
"""Pixels per column at 12 px; a little generous, because fonts differ."""


@dataclass(frozen=True)
class Axis:
    """Seconds to pixels; the only place where that is computed."""

    start: float
    end: float

    def clamp(self, t: float) -> float:
        """The nearest time on the axis."""
        return min(max(t, self.start), self.end)

    def x(self, t: float) -> float:
        """The pixel of a time, rounded to a tenth."""
        share = (self.clamp(t) - self.start) / (self.end - self.start)
        return round(GUTTER + share * (WIDTH - GUTTER - RIGHT), 1)

    def shows(self, t: float) -> bool:
        """Whether the time is on the axis."""
        return self.start <= t <= self.end

    def ticks(self) -> Iterator[float]:
        """Six to twelve round times."""
        rough = (self.end - self.start) / 9
        size = 10.0 ** math.floor(math.log10(rough))
        step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= rough)
        for number in range(math.ceil(self.start / step), math.floor(self.end / step) + 1):
            yield round(number * step, 6)


def trim(value: float) -> str:
    """A coordinate without a needless fraction."""
    return f"{round(value, 1):g}" if abs(value) < 1e5 else f"{value:.1f}"


class Canvas:
    """Collects elements; ``y`` is where the next lane begins."""

    def __init__(self, axis: Axis) -> None:
        self.axis = axis
        self.y = 6.0
        self.back = ET.Element("g")
        self.front = ET.Element("g")

    def add(
        self,
        tag: str,
        look: dict[str, str],
        *,
        title: str = "",
        back: bool = False,
        **attributes: float | str,
    ) -> ET.Element:
        """An element with a look (see ``palette.paint``); underscores in names become dashes."""
        element = ET.SubElement(self.back if back else self.front, tag, {**look, **_attributes(attributes)})
        if title:
            ET.SubElement(element, "title").text = title
        return element

    def text(self, x: float, y: float, words: str, look: str = "ink", **attributes: float | str) -> None:
        """Text whose baseline is at ``y``; 12 px unless told."""
        self.add("text", {**paint(look), **_attributes(attributes)}, x=x, y=y).text = words

    def label(self, words: str, middle: float, below: str = "") -> None:
        """A lane's name in the gutter, cut to fit, with a second line if there is one."""
        at = middle - 3 if below else middle + 4
        self.text(GUTTER - 12, at, fitted(words, GUTTER - 22), "ink", text_anchor="end")
        if below:
            cut = fitted(below, (GUTTER - 20) * 1.22)  # smaller type
            self.text(GUTTER - 12, at + 13, cut, "soft", text_anchor="end", font_size="10.5")

    def ground(self, height: float) -> None:
        """A faint ground behind the next lane."""
        self.add(
            "rect",
            paint("lane"),
            back=True,
            x=GUTTER,
            y=self.y,
            width=WIDTH - GUTTER - RIGHT,
            height=height,
            rx="3",
        )

    def ticks(self, times: Sequence[float], y: float, height: float, colour: str, width: str = "1.2") -> None:
        """Vertical strokes in one path; those that fall on the same pixel are one stroke."""
        places = sorted({self.axis.x(t) for t in times if self.axis.shows(t)})
        if places:
            path = "".join(f"M{trim(x)} {trim(y)}v{trim(height)}" for x in places)
            self.add("path", paint(colour, stroke=True), d=path, stroke_width=width, fill="none")

    def diamond(self, t: float, y: float, colour: str, title: str, size: float = 5) -> None:
        """A point event."""
        s = trim(size)
        path = f"M{trim(self.axis.x(t))} {trim(y - size)}l{s} {s}l-{s} {s}l-{s} -{s}z"
        self.add("path", paint(colour), d=path, title=title)


def size(value: float) -> str:
    """Bytes in the largest binary unit that keeps the number short: ``2.1 MiB``, ``512 B``."""
    for unit, factor in (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if value >= factor:
            return f"{value / factor:.1f} {unit}"
    return f"{value:.0f} B"


def _attributes(given: dict[str, float | str]) -> dict[str, str]:
    return {name.replace("_", "-"): v if isinstance(v, str) else trim(v) for name, v in given.items()}


def text_width(words: str) -> float:
    """An estimate in pixels at 12 px."""
    return columns(words) * _GLYPH


def fitted(words: str, room: float) -> str:
    """``words``, or as much of it as fits, with an ellipsis; "" if not even that."""
    if text_width(words) <= room:
        return words
    keep = int(room / _GLYPH) - 1
    return words[:keep] + "…" if keep >= 3 else ""
