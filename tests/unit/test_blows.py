"""When faults struck, kind by kind, from the events that their mechanisms leave in the history."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from backupchaos.faults.base import Fault, Ground
from backupchaos.faults.blows import KEPT, REPORTED, Blows, blows, refusals
from backupchaos.faults.files_held import Held
from backupchaos.faults.registry import mechanisms
from backupchaos.history import Event, History
from backupchaos.model.faults import KINDS

MECHANISMS: dict[str, type[Fault[Any]]] = {**mechanisms(), "file.locked, advisory": Held}
NOBODY_KNOWS = {
    "process.oom": "the kernel counts, and its words have no time of ours",
    "repository.bitflip": "what lies there damaged may be met at any time",
    "repository.truncate": "the same",
    "repository.delete": "the same",
    "repository.rollback": "whatever the job opens there is of another time",
    "repository.swapped": "whatever the job opens there is another's",
    "repository.wrong_password": "what the tool makes of it is its own affair",
}
"""Kinds whose blows nobody can time. Third parties' kinds are such, too, until they say otherwise."""
END = 10.0
Happened = tuple[str, float, dict[str, Any]]


@pytest.mark.parametrize("kind", sorted({*KINDS, *MECHANISMS}))
def test_each_kind_tells_when_it_struck_or_stands_among_those_that_cannot(kind: str) -> None:
    assert (MECHANISMS[kind].blows is Fault.blows) == (kind in NOBODY_KNOWS)


def struck(kind: str, happened: list[Happened], *, windows: Any = ((1.0, 9.0),), **spec: Any) -> Blows | None:
    """A fault of this kind in force from 1 to 9, after these events; the job ends at 10."""
    history = History(clock=lambda: 0.0)
    for what, at, data in happened:
        history.append(what, at=at, **{"link": "repository", "conn": 1, **data} if what == "link" else data)
    history.append("job.end", at=END, job="fault", outcome="failure")
    can = {"network", *spec.pop("can", {"syscalls"})}
    sandbox = SimpleNamespace(capabilities=can, path=lambda place: f"/{place}")
    link = SimpleNamespace(tells_of_toxics=True)
    parts = {"seed": 1, "source": "/s", "repository": "/r"}
    ground = Ground(sandbox=cast("Any", sandbox), history=history, link=cast("Any", link), **parts)  # type: ignore[arg-type]
    fields = {"place": "repository", **spec}
    made: Any = MECHANISMS[kind]("f", KINDS[kind].model_validate(fields), ground)
    made.windows = list(windows)
    for name in ("_armed", "_away", "_spans"):
        if hasattr(made, name):
            setattr(made, name, list(windows))
    made.picked = ["a"]
    made._toxics = {"f_upstream": None}
    made._changed = [windows[0][0]]
    return cast("Blows | None", made.blows())


def link(ev: str, at: float, **data: Any) -> Happened:
    return "link", at, {"ev": ev, "cause": "f", **data}


def call(part: str, at: float, action: str = "observe", **data: Any) -> Happened:
    return "syscall", at, {"rule": f"f.{part}", "action": action, "call": "openat", "path": "/r/x", **data}


def request(ev: str, at: float, decided: float) -> Happened:
    return "request", at, {"ev": ev, "fault": "f", "decided": decided, "method": "PUT", "target": "/x"}


SURE = {"exact": True, "count": 1}
LATE = link("refused", 30.0, **SURE)
REFUSALS: list[tuple[str, dict[str, Any], list[Happened], list[float]]] = [
    ("network.down", {}, [link("close", 2.0), link("refused", 3.0, **SURE), LATE], [2.0, 3.0]),
    ("network.down", {}, [link("close", 2.0, cause="another")], []),
    ("network.down", {}, [link("refused", 3.0, exact=False, count=1, shared=["a", "b"])], []),
    ("network.reset", {}, [link("close", 2.0)], [2.0]),
    ("network.cut_after", {"size": 1000}, [link("fault_hit", 2.0), link("close", 2.0)], [2.0]),
    ("network.flap", {}, [link("close", 2.0), link("refused", 2.5, **SURE)], [2.0, 2.5]),
    ("network.corrupt", {}, [link("flip", 2.0), link("flip", 4.0)], [2.0, 4.0]),
    ("dns.failure", {}, [link("name", 2.0, type="A"), link("name", 3.0, type="SOA")], [2.0]),
    ("service.kill", {}, [link("close", 2.0, reason="down"), link("close", 9.5, reason="down")], [2.0]),
    ("service.kill", {}, [link("close", 2.0, reason="client_fin")], []),
    ("service.restart", {}, [link("refused", 2.0, **SURE)], [2.0]),
    ("service.errors", {}, [request("struck", 2.5, 2.0), request("struck", 12.0, 11.0)], [2.0]),
    ("service.throttle", {}, [request("struck", 2.5, 2.0)], [2.0]),
    ("service.credentials_expire", {}, [request("struck", 2.5, 2.0), request("cut", 1.5, 1.5)], [1.5, 2.0]),
    ("permission.denied", {}, [call("watch", 2.0), call("looks", 3.0), call("searches", 9.5)], [2.0, 3.0]),
    ("file.locked", {"place": "source"}, [call("0", 2.0, "errno"), call("0", 3.0, "observe")], [2.0]),
    ("file.unreadable", {"place": "source"}, [call("0", 2.0, "errno")], [2.0]),
    ("file.vanishes", {"place": "source"}, [call("0.hold", 2.0, "hold"), call("0.opens", 3.0)], [2.0]),
    ("disk.full", {}, [call("unfit", 2.0), call("asked", 3.0)], [2.0]),
    ("disk.full", {}, [call("asked", 3.0)], [3.0]),
    ("disk.nearly_full", {}, [call("unfit", 2.0), call("wrote", 3.0)], [2.0]),
    ("disk.inodes", {}, [call("refused", 2.0)], [2.0]),
    ("disk.readonly", {}, [call("refused", 2.0, "errno"), call("tried", 3.0)], [2.0, 3.0]),
    ("disk.vanishes", {}, [call("met", 2.0)], [2.0]),
    ("disk.io_error", {}, [call("read", 2.0, "errno"), call("read", 9.5, "errno")], [2.0]),
    ("disk.quota", {"place": "target"}, [call("over", 2.0)], [2.0]),
    ("process.kill", {"place": "target"}, [], [1.0]),
    ("process.fds", {"place": "target"}, [("syscall", 2.0, {"rule": "f", "action": "observe"})], [2.0]),
    ("process.pids", {"place": "target"}, [("syscall", 2.0, {"rule": "f", "action": "errno"})], [2.0]),
    ("power.cut", {}, [], [1.0]),
]


@pytest.mark.parametrize(("kind", "spec", "happened", "moments"), REFUSALS)
def test_a_refusal_is_told_when_it_was_given(
    kind: str, spec: dict[str, Any], happened: list[Happened], moments: list[float]
) -> None:
    if "process." in kind or kind == "power.cut":
        spec = {**spec, **{"process.fds": {"limit": 9}, "process.pids": {"limit": 9}}.get(kind, {})}
    assert struck(kind, happened, **spec) == Blows("refusal", tuple((t, t) for t in moments))


SPANS: list[tuple[str, dict[str, Any], list[Happened], str, list[tuple[float, float]]]] = [
    (
        "network.blackhole",
        {},
        [link("fault_hit", t) for t in (2.0, 2.05, 2.1, 5.0)] + [link("refused", 7.0, **SURE)],
        "silence",
        [(2.0, 2.1), (5.0, 5.0), (7.0, 7.0)],
    ),
    (
        "network.half_open",
        {},
        [link("fault_hit", 2.0), link("close", 8.0)],
        "silence",
        [(2.0, 2.0), (8.0, 8.0)],
    ),
    ("dns.failure", {"mode": "silent"}, [link("name", 2.0, type="A")], "silence", [(2.0, 2.0)]),
    ("network.slow", {"rate": 9000}, [link("fault_hit", 2.0, by="toxic:f_upstream")], "burden", [(2.0, 2.0)]),
    ("network.latency", {"delay": 0.1}, [], "burden", [(1.0, 9.0)]),
    ("network.loss", {}, [link("lost", 9.0)], "burden", [(1.0, 9.0)]),
    ("dns.slow", {}, [link("name", 2.0, type="AAAA")], "burden", [(2.0, 2.0)]),
    ("service.slow", {"delay": 1.0}, [request("struck", 3.0, 2.0)], "burden", [(2.0, 3.0)]),
    (
        "disk.slow",
        {},
        [call("read", 2.0, "delay"), call("write", 5.0, "delay")],
        "burden",
        [(2.0, 2.0), (5.0, 5.0)],
    ),
    ("disk.short_write", {}, [call("short", 2.0, "short")], "burden", [(2.0, 2.0)]),
    ("disk.nearly_full", {}, [call("wrote", 3.0)], "burden", [(1.0, 9.0)]),
    ("file.grows", {"place": "source"}, [call("0.hold", 2.0, "hold")], "burden", [(2.0, 2.0)]),
    ("process.pause", {"place": "target", "for": 8.0}, [], "burden", [(1.0, 9.0)]),
    ("permission.denied", {"can": set()}, [call("watch", 2.0)], "untimed", [(1.0, 9.0)]),
    ("disk.full", {"can": set()}, [], "untimed", [(1.0, 9.0)]),
]


@pytest.mark.parametrize(("kind", "spec", "happened", "how", "spans"), SPANS)
def test_what_lasts_is_told_with_its_spans(
    kind: str, spec: dict[str, Any], happened: list[Happened], how: str, spans: list[tuple[float, float]]
) -> None:
    assert struck(kind, happened, **spec) == Blows(cast("Any", how), tuple(spans))


def test_a_sync_that_is_answered_and_not_made_strikes_nobody() -> None:
    assert struck("disk.lost_fsync", [call("lost", 2.0, "errno")]) is None


def test_of_more_calls_than_are_reported_nobody_knows_the_last() -> None:
    calls = [Event(n, n / 1000, "syscall", {"rule": "f.unfit"}) for n in range(REPORTED)]
    assert refusals(calls[:-1], until=9.0).spans[-1] == (0.0, 0.998)
    assert refusals(calls, until=9.0) == Blows("untimed", ((0.0, 9.0),))


def test_of_very_many_spans_the_first_and_the_newest_are_told() -> None:
    told = blows("refusal", [float(n) for n in range(1000)]).spans
    assert (len(told), told[0], told[-1]) == (KEPT, (0.0, 0.0), (999.0, 999.0))
    assert told[1] == (1000.0 - KEPT + 1, 1000.0 - KEPT + 1)
