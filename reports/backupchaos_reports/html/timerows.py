"""The timeline as text: the same events and the same numbers as the figure, as rows of a table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from backupchaos.history import Event
from backupchaos_reports.text import visible

_SHORT = 160


@dataclass(frozen=True)
class Row:
    """One line of the table; ``until`` is set where several like events are one row."""

    t: float
    until: float | None
    what: str
    detail: str


def _w(event: Event, key: str) -> str:
    value = event.get(key)
    if isinstance(value, (list, tuple)):
        value = " ".join(str(part) for part in value)
    return "" if value is None else visible(value, _SHORT)


def differs(event: Event) -> bool:
    """A restore event that is not equal, or did not work."""
    return bool(
        event.get("different") or event.get("missing") or event.get("extra") or event.get("returncode")
    )


def checkpoint(event: Event) -> tuple[str, str]:
    """Label and look (``good``, ``bad``, ``open``) of a job's end, restore, command, manifest or verdict."""
    if event.kind == "job.end":
        outcome = _w(event, "outcome")
        look = "bad" if outcome == "failure" else "open"  # a claim of success is not yet a truth
        told = "fails" if look == "bad" else f"claims {outcome}"
        late = ", timed out" if event.get("timed_out") is True else ""
        return (
            f"{_w(event, 'job')} job {told}, exit {_w(event, 'returncode') or 'unknown'}{late}",
            look,
        )
    if event.kind == "restore":
        counts = ", ".join(
            f"{_w(event, key)} {key}"
            for key in ("identical", "different", "missing", "extra")
            if event.get(key)
        )
        if event.get("performed") is False:
            return f"restore {_w(event, 'which')}: not made", "open"
        return f"restore {_w(event, 'which')}: {counts or 'nothing compared'}", "bad" if differs(
            event
        ) else "good"
    if event.kind == "command":
        code = event.get("returncode")
        return f"{_w(event, 'what')}: exit {_w(event, 'returncode')}", "good" if code == 0 else "bad"
    if event.kind == "manifest":
        return f"manifest {_w(event, 'which')}: {_w(event, 'entries')} entries", "open"
    return f"verdict {_w(event, 'verdict')}", "open"


def _fault(event: Event) -> str:
    parts = (
        _w(event, "name"),
        _w(event, "status"),
        _w(event, "fault"),
        _w(event, "mechanism"),
        _w(event, "detail"),
    )
    return " · ".join(part for part in parts if part)


_LINK = ("link", "ev", "conn", "mode", "count", "reason", "up", "down", "what")
_DETAIL: dict[str, Callable[[Event], str]] = {
    "run.open": lambda e: _w(e, "utc"),
    "phase": lambda e: _w(e, "name"),
    "job.start": lambda e: f"{_w(e, 'job')}: {_w(e, 'command')} (pid {_w(e, 'pid')})",
    "state": lambda e: f"{_w(e, 'job')} job is {_w(e, 'state')} ({_w(e, 'source')})",
    "retry": lambda e: f"retry {_w(e, 'n')} seen in {_w(e, 'source')}: {_w(e, 'cause')}",
    "fault": _fault,
    "bite": lambda e: f"{_w(e, 'name')}: {_w(e, 'text') or _w(e, 'proof') or 'no proof that it bit'}",
    "blows": lambda e: f"{_w(e, 'name')}: {_w(e, 'how')}, {len(e.get('spans') or ())} times",
    "link": lambda e: " ".join(f"{key} {_w(e, key)}" for key in _LINK if e.get(key)),
    "volume": lambda e: f"{_w(e, 'place')}: {_w(e, 'free')} B free of {_w(e, 'total')}",
    "syscall": lambda e: f"{_w(e, 'call')} {_w(e, 'path')}: {_w(e, 'action')} (number {_w(e, 'ordinal')})",
    "process": lambda e: f"{_w(e, 'event')} {_w(e, 'pid')} {_w(e, 'command')}",
    "note": lambda e: _w(e, "text"),
}
_CHECKPOINTS = {"job.end", "restore", "command", "manifest", "verdict"}
_LEFT_TO_OTHERS = {"check", "log", "run.start", "cause"}  # they have places of their own on the page


def _detail(event: Event) -> str:
    if event.kind in _CHECKPOINTS:
        return checkpoint(event)[0]
    if event.kind in _DETAIL:
        return _DETAIL[event.kind](event)
    return visible(" ".join(f"{key}={value}" for key, value in event.data.items()), _SHORT)


_KEYS = ("link", "ev", "place", "name", "text", "call", "action")
_SAMPLES = {"link", "volume", "bite", "syscall"}


def _like(event: Event) -> tuple[str, ...]:
    """Samples with the same key become one row, as long as nothing else happens in between."""
    return event.kind, *(str(event.get(key)) for key in _KEYS)


def rows(events: Sequence[Event], limit: int) -> tuple[list[Row], int]:
    """In the order of time, at most ``limit`` rows (the middle is left out), and how many there are in all."""
    ordered = sorted(events, key=lambda event: (event.t, event.seq))
    found = list(_rows([event for event in ordered if event.kind not in _LEFT_TO_OTHERS]))
    if len(found) <= limit:
        return found, len(found)
    head = limit * 2 // 3
    return found[:head] + found[len(found) - (limit - head) :], len(found)


def _rows(events: Sequence[Event]) -> Iterator[Row]:
    held: dict[tuple[str, ...], list[Event]] = {}
    for event in events:
        if event.kind in _SAMPLES:
            held.setdefault(_like(event), []).append(event)
            continue
        yield from _flush(held)
        yield Row(event.t, None, event.kind, _detail(event))
    yield from _flush(held)


def _flush(held: dict[tuple[str, ...], list[Event]]) -> Iterator[Row]:
    for same in held.values():
        first, last = same[0], same[-1]
        if len(same) < 3:
            yield from (Row(event.t, None, event.kind, _detail(event)) for event in same)
        else:
            detail = f"{len(same)} times, first {_detail(first)}; last {_detail(last)}"
            yield Row(first.t, last.t, first.kind, detail)
    held.clear()
