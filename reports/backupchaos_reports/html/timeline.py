"""From the events of a run to what is drawn. No geometry here."""

from __future__ import annotations

from collections.abc import Sequence

from backupchaos.history import Event
from backupchaos.results import FaultResult, RunResult
from backupchaos_reports.html import timerows
from backupchaos_reports.html.marks import FaultLane, Mark, Series, Span, Timeline, number, word
from backupchaos_reports.text import visible

LANES = 3
"""Links, volumes and retry sources drawn at most, each; faults twice as many."""
VERIFY_SHARE = 0.5
"""The verification is drawn too, unless it takes longer than this share of job and recovery."""
SAMPLING = 0.25
"""Seconds: bytes are taken to have moved within this time before their sample, if none came earlier."""
LEVELS = ("info", "warning", "error")


def fold(result: RunResult, events: Sequence[Event]) -> Timeline | None:
    """The timeline, or None if there is nothing to draw."""
    sound = sorted((event for event in events if number(event.t) is not None), key=lambda event: event.t)
    extent = _extent(result, sound)
    if extent is None:
        return None
    line = Timeline(*extent)
    if sound and sound[-1].t > line.end + 0.5:
        line.notices.append(
            f"drawn until {line.end:.1f} s; the run ended at {sound[-1].t:.1f} s (see the table)"
        )
    line.phases = _phases(sound, line)
    line.faults = _faults(result, sound, line)
    line.states = _states(result, sound, line)
    line.attempts = _attempts(result, line)
    line.links = _limited(_links(sound), "links", line)
    line.volumes = _limited(_volumes(sound), "volumes", line)
    line.checkpoints = _checkpoints(sound)
    line.syscalls = [
        Mark(e.t, f"{word(e.get('call'))} {word(e.get('path'))}: {word(e.get('action'))}", "syscall")
        for e in sound
        if e.kind == "syscall" and not any(_rule_of(e, fault.name) for fault in line.faults)
    ]
    line.log = {level: [] for level in LEVELS}
    for event in sound:
        if event.kind == "log":
            level = event.get("level")
            line.log[level if isinstance(level, str) and level in LEVELS else "info"].append(event.t)
    return line


def _job_times(result: RunResult, events: Sequence[Event], job: str) -> tuple[float | None, float | None]:
    start = next((e.t for e in events if e.kind == "job.start" and e.get("job") == job), None)
    end = next((e.t for e in events if e.kind == "job.end" and e.get("job") == job), None)
    stored = next((j for j in result.jobs if j.name == job), None)
    if stored is not None:
        start = number(stored.started) if start is None else start
        end = number(stored.ended) if end is None else end
    return start, end


def _extent(result: RunResult, events: Sequence[Event]) -> tuple[float, float] | None:
    """From a little before the fault job until the recovery or, where it is short, the verification ended."""
    start, end = _job_times(result, events, "fault")
    if start is None:
        return None
    applied = [e.t for e in events if e.kind == "fault" and e.get("status") == "applied"]
    start = min([start, *applied])  # a fault may be there before the job
    recovered = _job_times(result, events, "recovery")[1]
    last = max((e.t for e in events), default=start)
    end = max(v for v in (end, recovered, start) if v is not None)
    if end <= start:
        end = max(last, start + 0.001)
    if last - end <= VERIFY_SHARE * (end - start):
        end = max(end, last)
    pad = 0.015 * (end - start)
    return max(0.0, start - pad), end + pad


def _limited(lanes: list[Series], what: str, line: Timeline) -> list[Series]:
    if len(lanes) > LANES:
        line.notices.append(f"{LANES} of {len(lanes)} {what} drawn")
    return lanes[:LANES]


def _spans(marks: Sequence[tuple[float, str]], end: float) -> list[tuple[float, float, str]]:
    """Each mark lasts until the next."""
    if not marks:
        return []
    following = [t for t, _ in marks[1:]] + [max(end, marks[-1][0])]
    return [(t, after, name) for (t, name), after in zip(marks, following, strict=True)]


def _phases(events: Sequence[Event], line: Timeline) -> list[Span]:
    marks = [(e.t, word(e.get("name"), 24)) for e in events if e.kind == "phase"]
    return [Span(start, end, name, name) for start, end, name in _spans(marks, line.end) if end > line.start]


def _faults(result: RunResult, events: Sequence[Event], line: Timeline) -> list[FaultLane]:
    lanes: dict[str, FaultLane] = {}
    stored = {visible(fault.name, 80): fault for fault in result.faults}
    for name, known in stored.items():
        lanes[name] = FaultLane(name, f"{word(known.kind, 40)} on {word(known.place, 40)}")
    changes: dict[str, list[tuple[float, str]]] = {}
    for event in events:
        name = word(event.get("name"))
        if event.kind == "fault":
            lanes.setdefault(name, FaultLane(name, word(event.get("fault"), 40)))
            changes.setdefault(name, []).append((event.t, word(event.get("status"), 20)))
        elif event.kind == "bite" and event.get("text") is not None:
            lane = lanes.setdefault(name, FaultLane(name, ""))
            lane.proofs.append(Mark(event.t, word(event.get("text"), 120), "proof"))
    for name, lane in lanes.items():
        fault = stored.get(name)
        lane.spans = _windows(changes.get(name, []), fault, line)
        lane.proofs += _contacts(lane, events, link=_link_of(fault))
        lane.words = [word(proof.text, 120) for proof in fault.proof] if fault is not None else []
    if len(lanes) > 2 * LANES:
        line.notices.append(f"{2 * LANES} of {len(lanes)} faults drawn")
    return list(lanes.values())[: 2 * LANES]


def _rule_of(event: Event, fault: str) -> bool:
    """The supervisor's rules of a fault are named after it: ``lock.0``, ``deny.watch``."""
    return event.kind == "syscall" and word(event.get("rule")).rpartition(".")[0] == fault


def _link_of(fault: FaultResult | None) -> str:
    """The link that a fault of a network acts on; empty for any other fault."""
    return fault.place if fault is not None and fault.layer == "network" else ""


def _contacts(lane: FaultLane, events: Sequence[Event], *, link: str) -> list[Mark]:
    """Moments at which the job met the fault: refused calls; connections of its link cut or refused while it was on."""
    found = []
    for event in events:
        if _rule_of(event, lane.name):
            found.append(Mark(event.t, f"{word(event.get('call'))}: {word(event.get('action'))}", "proof"))
        elif link and event.kind == "link" and event.get("link", link) == link:
            hit = event.get("ev") in ("fault_hit", "refused")
            if hit and any(window.start - 0.05 <= event.t <= window.end + 0.05 for window in lane.windows):
                found.append(Mark(event.t, word(event.get("what") or event.get("ev")), "proof"))
    return found


_LOOKS = {"armed": "armed", "applying": "moving", "applied": "on", "undoing": "moving"}


def _windows(changes: Sequence[tuple[float, str]], stored: FaultResult | None, line: Timeline) -> list[Span]:
    """Windows from the status changes; from the result where the history is silent."""
    began = number(stored.started) if stored is not None else None
    ended = number(stored.ended) if stored is not None else None
    if began is not None and not any(status == "applied" for _, status in changes):
        return [Span(began, max(began, line.end if ended is None else ended), "", "on")]
    spans = []
    for start, end, status in _spans(changes, line.end):
        if status in _LOOKS:
            last = end if ended is None or status != "applied" else max(start, min(end, ended))
            spans.append(Span(start, last, status, _LOOKS[status]))
    return spans


def _states(result: RunResult, events: Sequence[Event], line: Timeline) -> list[Span]:
    """The states of the job under the fault, as they were judged, then those of the recovery job."""
    marks = [(t, word(s.state, 24)) for s in result.states if (t := number(s.t)) is not None]
    found = [e for e in events if e.kind == "state" and (e.get("job") == "recovery" or not marks)]
    known = {e.get("source") for e in found if isinstance(e.get("source"), str)}
    best = next((source for source in ("job", "live", "derived") if source in known), None)
    for event in found:
        entered = number(event.get("entered"))
        if event.get("source") == best or best is None:
            marks.append((event.t if entered is None else entered, word(event.get("state"), 24)))
    marks.sort(key=lambda mark: mark[0])
    changes = [mark for n, mark in enumerate(marks) if n == 0 or mark[1] != marks[n - 1][1]]
    return [
        Span(start, end, name, name) for start, end, name in _spans(changes, line.end) if end > line.start
    ]


def _attempts(result: RunResult, line: Timeline) -> dict[str, list[Mark]]:
    """Per observer, what failed when, and at the end what became of the job.

    A log announces another attempt at the moment at which one has failed; a link sees the attempts
    themselves, so there the last one may be the good one.
    """
    job = next((j for j in result.jobs if j.name == "fault"), None)
    final = {"success": "good", "failure": "bad"}.get((job.outcome if job else result.outcome) or "", "open")
    sources: dict[str, list[Mark]] = {}
    for source in sorted({retry.source for retry in result.retries}):
        tries = sorted((r for r in result.retries if r.source == source), key=lambda retry: retry.t)
        several = len({retry.link for retry in result.retries}) > 1
        marks = [
            Mark(
                r.t,
                f"retry {n}{f' on {word(r.link, 24)}' if several and r.link else ''}: {word(r.cause, 120)}",
                "bad",
            )
            for n, r in enumerate(tries, 1)
        ]
        if source == "link" and "refused" not in tries[-1].cause:
            marks[-1] = Mark(marks[-1].t, marks[-1].label, final)
        elif job is not None:
            marks.append(Mark(job.ended, f"the job ends: {word(job.outcome, 20)}", f"end-{final}"))
        sources[word(source, 12)] = marks
    if len(sources) > LANES:
        line.notices.append(f"{LANES} of {len(sources)} observers of retries drawn")
    return dict(list(sources.items())[:LANES])


_LINK_MARKS = {"refused": "bad", "dial_fail": "bad", "open": "good", "down": "down", "up": "up"}


def _links(events: Sequence[Event]) -> list[Series]:
    """Bytes per sample. Samples, marks and triggers carry the link's totals so far, which only grow."""
    lanes: dict[str, Series] = {}
    seen: dict[tuple[str, str], float] = {}
    when: dict[str, float] = {}
    for event in events:
        if event.kind != "link":
            continue
        name = word(event.get("link"), 24) or "link"
        lane = lanes.setdefault(name, Series(name))
        prefix = "total_" if event.get("ev") == "close" else ""
        moved = 0.0
        for direction in ("up", "down"):
            total, before = number(event.get(prefix + direction)), seen.get((name, direction), 0.0)
            if total is not None and total > before:
                moved += total - before
                seen[name, direction] = total
        if moved:
            lane.samples.append((event.t, moved))
            lane.since.append(max(when.get(name, 0.0), event.t - SAMPLING))
            when[name] = event.t
        kind = event.get("ev")
        if isinstance(kind, str) and kind in _LINK_MARKS:
            lane.marks.append(
                Mark(event.t, f"connection {word(event.get('conn'), 20)} {kind}", _LINK_MARKS[kind])
            )
    return list(lanes.values())


def _volumes(events: Sequence[Event]) -> list[Series]:
    lanes: dict[str, Series] = {}
    for event in events:
        free = number(event.get("free")) if event.kind == "volume" else None
        if free is not None:
            name = word(event.get("place"), 24) or "volume"
            lane = lanes.setdefault(name, Series(name))
            lane.samples.append((event.t, free))
            lane.top = max(lane.top, free, number(event.get("total")) or 0.0)
    return list(lanes.values())


def _checkpoints(events: Sequence[Event]) -> list[Mark]:
    """Ends of jobs, restores, the tool's check, commands that failed, and the verdict."""
    return [Mark(e.t, *timerows.checkpoint(e)) for e in events if _is_checkpoint(e)]


def _is_checkpoint(event: Event) -> bool:
    if event.kind == "command":
        what = event.get("what")
        told = isinstance(what, str) and what.startswith("restore")  # the restore itself is one
        return what == "check" or (event.get("returncode") not in (0, None) and not told)
    return event.kind in {"job.end", "restore", "verdict"}
