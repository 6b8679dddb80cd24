"""Columns: aligned, never cut, and on a terminal wrapped below themselves."""

from __future__ import annotations

import sys

import pytest

from backupchaos_cli import doctor
from backupchaos_cli.catalogue import Tried
from backupchaos_cli.console import wrapped
from backupchaos_targets.reference import ReferenceTarget

LONG = "SIGKILL, FS_IOC_SHUTDOWN without a flush of an ext4 image, mounted again"
ROWS = [("power.cut", LONG), ("file.locked", ""), ("x", "short")]


def on_a_terminal(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(width))


def test_what_is_no_terminal_gets_whole_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    assert wrapped(ROWS, beside=6) == [f"power.cut    {LONG}", "file.locked", "x            short"]


def test_on_a_terminal_the_text_goes_on_below_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    on_a_terminal(monkeypatch, 60)
    first, *others = wrapped(ROWS, beside=6)
    assert others == ["file.locked", "x            short"]
    head, *rest = first.split("\n")
    assert head == "power.cut    SIGKILL, FS_IOC_SHUTDOWN without a flush"
    assert rest and all(line.startswith(" " * 19) and len(line) <= 60 for line in rest)
    assert " ".join(first.split()) == f"power.cut {LONG}"
    on_a_terminal(monkeypatch, 120)
    assert wrapped(ROWS, beside=6)[0] == f"power.cut    {LONG}"
    on_a_terminal(monkeypatch, 30)
    assert wrapped(ROWS, beside=6)[0] == f"power.cut    {LONG}", "too narrow for columns"


def test_doctor_tells_the_whole_mechanism(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [Tried("power.cut", LONG, True), Tried("power.lying_disk", "", False, f"{LONG}, root only")]
    doctor._fault_table(ReferenceTarget(), found)
    assert capsys.readouterr().out.count(LONG) == 2
    on_a_terminal(monkeypatch, 60)
    doctor._fault_table(ReferenceTarget(), found)
    out = capsys.readouterr().out
    assert "…" not in out
    assert " ".join(out.split()).count(LONG) == 2
    assert max(map(len, out.splitlines()[1:])) <= 60 + 10  # colours of the mark
