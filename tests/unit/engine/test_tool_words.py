"""What is shown of a tool's own words: without its colours, with everything else that it says."""

from __future__ import annotations

from pathlib import Path

from backupchaos.checks.laws import describe_restore
from backupchaos.commands import Command, Completed
from backupchaos.engine.output import LineSplitter
from backupchaos.engine.run import _write_log
from backupchaos.history import History
from backupchaos.results import RestoreResult
from backupchaos_reports.words import restore_words

RED = "\x1b[31mERROR\x1b[0m no space\x1b[2J\x1b]0;owned\x07"


def test_lines_lose_their_colours_and_keep_other_escapes_to_be_seen() -> None:
    assert LineSplitter().feed(RED.encode() + b"\n") == ["ERROR no space\x1b[2J\x1b]0;owned\x07"]


def test_a_secret_in_two_colours_is_hidden_all_the_same() -> None:
    assert LineSplitter(["swordfish"]).feed(b"key sword\x1b[1mfish\n") == ["key •••"]


def test_the_last_three_lines_are_quoted() -> None:
    done = Completed(Command(("tool",)), 1, "one\n\ntwo\n", "\x1b[31mthree\x1b[0m\nfour\n", 0.1)
    assert done.last_words == "two / three / four"
    assert Completed(Command(("tool",)), 1, "", " \n", 0.1).last_words == "it printed nothing"
    assert len(Completed(Command(("tool",)), 1, "x" * 10_000, "", 0.1).last_words) == 500


def test_a_restore_that_fails_is_shown_with_what_the_tool_said() -> None:
    failed = RestoreResult("control", "s1", True, 1, expected=3, identical=3, words="read-only file system")
    assert "(restore exit 1: read-only file system)" in restore_words(failed)
    assert describe_restore(failed).startswith("restore exits 1")


def test_the_stored_log_drives_no_terminal(tmp_path: Path) -> None:
    history = History()
    said = "a\tb\x1b]0;owned\x07 \x00 \r \x7f \x9b2J café"
    history.append("log", job="job", level="info", text=said)
    _write_log(tmp_path / "job.log", history.events)
    written = (tmp_path / "job.log").read_bytes().decode("utf-8")
    assert written.endswith("a\tb\\x1b]0;owned\\x07 \\x00 \\r \\x7f \\x9b2J café\n")
    assert written.count("\n") == 1
