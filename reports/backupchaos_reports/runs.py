"""Stored runs as reports read them: results, history and the two ends of the log."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

from backupchaos.errors import UsageProblem
from backupchaos.history import Event, read_history
from backupchaos.results import RunResult, load_result
from backupchaos_reports.text import redacted

HEAD_BYTES = 64 * 1024
TAIL_BYTES = 192 * 1024


@dataclass(frozen=True)
class StoredRun:
    """One run on disk. ``log_head_tail`` is the log, cut in the middle if long; None if there is none."""

    result: RunResult
    events: Sequence[Event]
    log_head_tail: str | None = None


class HistoryFile(Sequence[Event]):
    """The events of a file, read anew for each use: a thousand histories do not fit into memory.

    Iterating raises ``UsageProblem`` if the file is missing or is not a history.
    """

    def __init__(self, path: Path, secrets: tuple[str, ...] = ()) -> None:
        self.path = path
        self._secrets = secrets

    def _read(self) -> list[Event]:
        try:
            return redacted(read_history(self.path), self._secrets)
        except OSError as error:
            raise UsageProblem(f"{self.path}: cannot read the history: {error.strerror}") from None

    def __iter__(self) -> Iterator[Event]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())

    @overload
    def __getitem__(self, index: int) -> Event: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Event]: ...
    def __getitem__(self, index: int | slice) -> Event | Sequence[Event]:
        return self._read()[index]


def load_runs(paths: Iterable[Path], *, secrets: Iterable[str] = ()) -> list[StoredRun]:
    """The runs in these directories: each is a run itself or holds runs (``<dir>/*/results.json``).

    Raises ``UsageProblem`` if a path holds no run or a result cannot be read. Secrets are redacted
    from everything that is loaded.
    """
    known = tuple(secrets)
    runs: list[StoredRun] = []
    for path in paths:
        files = [path / "results.json"]
        if not files[0].is_file():
            files = sorted(path.glob("*/results.json"))
        if not files:
            raise UsageProblem(f"{path}: no run found: expected results.json there or one folder below")
        runs += [_load(file, known) for file in files]
    return runs


def _load(file: Path, secrets: tuple[str, ...]) -> StoredRun:
    result = load_result(file)
    # The names come from a file that may come from elsewhere: never leave the run's directory.
    history = HistoryFile(file.parent / Path(result.history).name, secrets)
    log = read_ends(file.parent / Path(result.log).name)
    return StoredRun(redacted(result, secrets), history, log if log is None else redacted(log, secrets))


def read_ends(path: Path, head: int = HEAD_BYTES, tail: int = TAIL_BYTES) -> str | None:
    """The text of a file, with a notice in place of its middle if it is longer than ``head + tail`` bytes.

    Undecodable bytes become lone surrogates, which ``text.visible`` shows. None if there is no file.
    """
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            if size <= head + tail:
                return file.read().decode("utf-8", "surrogateescape")
            first = file.read(head)
            file.seek(size - tail)
            last = file.read(tail)
    except OSError:
        return None
    notice = f"\n… {size - head - tail:,} bytes left out here; the whole log is in {path.name} …\n"
    return first.decode("utf-8", "surrogateescape") + notice + last.decode("utf-8", "surrogateescape")
