"""Live progress between pytest's own output: never inside a line of dots."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from backupchaos.session.console import Console, Style


def make_console(config: pytest.Config, fd: int, style_for: Callable[..., Style]) -> Console:
    """The console of this process: the real output, as pytest's terminal plugin left it."""
    worker = getattr(config, "workerinput", {}).get("workerid", "")
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    quiet = fd < 0 or getattr(config.option, "verbose", 0) < 0 or (terminal is None and not worker)
    style = style_for(fd, quiet=quiet)
    if worker or terminal is None:
        # Other workers write there too: one line at a time, never a repainted one.
        return Console(fd, "lines" if style == "live" else style)
    between = _Between(config, terminal)
    return Console(fd, style, begin=between.begin, end=between.end)


class _Between:
    """Knows what pytest has written on the current line (``tests/test_x.py ..``)."""

    def __init__(self, config: pytest.Config, terminal: Any) -> None:
        self._config = config
        self._terminal = terminal

    def begin(self) -> int:
        """The column at which pytest's cursor stands."""
        if self._terminal.currentfspath is None:
            return 0
        width = getattr(getattr(self._terminal, "_tw", None), "width_of_current_line", 1)
        return int(width) or 1

    def end(self, lines: bool) -> str:
        """What pytest believes to stand on its line is written again, so that its dot or word fits."""
        place = self._terminal.currentfspath
        if not lines or place is None:
            return ""
        if isinstance(place, str):
            return place
        return os.path.relpath(place, self._config.invocation_params.dir) + " "
