from __future__ import annotations

from pathlib import Path

import pytest

from backupchaos.errors import UsageProblem
from backupchaos.history import History, read_history


def test_events_are_on_disk_before_the_next_step(tmp_path: Path) -> None:
    path = tmp_path / "a" / "history.jsonl"
    history = History(path)
    history.append("log", job="fault", text="naïve \udcff text")
    assert [event.kind for event in read_history(path)] == ["run.open", "log"]
    assert read_history(path)[1]["text"] == "naïve \udcff text"
    history.close()


def test_times_are_relative_to_the_start(tmp_path: Path) -> None:
    now = iter([100.0, 100.0, 101.5])
    history = History(clock=lambda: next(now))
    assert history.append("a").t == 1.5
    assert history.append("b", at=103.25).t == 3.25


def test_a_torn_last_line_is_left_out_and_other_damage_is_located(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    history = History(path)
    history.append("a")
    history.close()
    whole = path.read_text()
    path.write_text(whole + '{"seq": 2, "t": 1, "ki')
    assert len(read_history(path)) == 2
    path.write_text("garbage\n" + whole)
    with pytest.raises(UsageProblem, match=r"history.jsonl:1: not a history record"):
        read_history(path)


def test_listeners_hear_every_event() -> None:
    heard: list[str] = []
    history = History()
    history.listen(lambda event: heard.append(event.kind))
    history.append("x")
    history.append("y")
    assert heard == ["x", "y"]
    last = history.last("x", "y")
    assert last is not None
    assert last.kind == "y"
