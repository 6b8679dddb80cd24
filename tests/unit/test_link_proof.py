"""What proves that a job met a fault of the link or of a server, and what others gave or nothing happened to."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from backupchaos.errors import MissingCapability
from backupchaos.faults.base import Ground
from backupchaos.faults.network import Blackhole, Down, Latency, Slow
from backupchaos.faults.network_shaping import Corrupt, Flap, Loss, Slice
from backupchaos.faults.service import Kill, Restart
from backupchaos.history import History
from backupchaos.model.faults.network import (
    NetworkBlackhole,
    NetworkCorrupt,
    NetworkDown,
    NetworkFlap,
    NetworkLatency,
    NetworkLoss,
    NetworkSlice,
    NetworkSlow,
)
from backupchaos.model.faults.service import ServiceKill, ServiceRestart

JOB_END = 10.0
DURING, AFTER = 5.0, 12.0


def ground(*, tells: bool = True, network: bool = True, sees_refusals: bool = True, **more: Any) -> Ground:
    """A history in which the job ends at 10 s, and a link that counts nothing by itself."""
    history = History(clock=lambda: 0.0)
    sandbox = SimpleNamespace(capabilities={"network"} if network else set())
    link = SimpleNamespace(tells_of_toxics=tells, sees_refusals=lambda: sees_refusals)
    return Ground(
        sandbox=cast("Any", sandbox),
        history=history,
        seed=1,
        source="",
        repository="",
        link=cast("Any", link),
        **more,
    )


def happened(made: Ground, ev: str, at: float, **data: Any) -> None:
    made.history.append("link", at=at, link="repository", ev=ev, **data)


def ended(made: Ground) -> None:
    made.history.append("job.end", at=JOB_END, job="fault", outcome="failure")


WINDOWS = [(1.0, 20.0)]
LATE = pytest.mark.parametrize(
    ("at", "begins", "proves"),
    [(DURING, 1.0, True), (AFTER, 1.0, False), (AFTER, 11.0, True)],
    ids=["the job met it", "a list met it", "it came after the job"],
)


@LATE
def test_refusals_after_the_job_prove_nothing(at: float, begins: float, proves: bool) -> None:
    made = ground()
    happened(made, "refused", at, conn=0, cause="fault", exact=True, count=14)
    ended(made)
    fault = Down("fault", NetworkDown(place="repository"), made)
    fault.windows = [(begins, 20.0)]
    assert bool(fault.bite()) is proves


@pytest.mark.parametrize("whose", [{"strangers": True}, {"shared": ["catalog", "repository"]}])
@pytest.mark.parametrize(
    ("kind", "spec"),
    [(Down, NetworkDown), (Flap, NetworkFlap), (Kill, ServiceKill), (Restart, ServiceRestart)],
)
@pytest.mark.parametrize("seen", [True, False])
def test_refusals_that_may_be_strangers_prove_nothing(
    kind: Any, spec: Any, whose: dict[str, Any], seen: bool
) -> None:
    """It is no idle fault either: where nobody can tell, the run is skipped, with the reason."""
    made = ground(network=False, sees_refusals=seen)
    happened(made, "refused", DURING, conn=0, cause="fault", exact=False, count=3, **whose)
    ended(made)
    fault = kind("fault", spec(place="repository"), made)
    fault.windows, fault._away = list(WINDOWS), list(WINDOWS)
    assert fault.bite() == []
    assert fault.blows().spans == ()
    if seen:
        fault.after_job()
        return
    with pytest.raises(MissingCapability, match="whose connections were refused"):
        fault.after_job()


@pytest.mark.parametrize(("opened", "proves"), [(DURING, True), (AFTER, False)])
def test_a_silence_proves_by_connections_of_the_job_though_it_is_told_later(
    opened: float, proves: bool
) -> None:
    made = ground()
    happened(made, "open", opened, conn=3)
    ended(made)
    happened(made, "fault_hit", 19.0, conn=3, cause="fault", up=100)
    fault = Blackhole("fault", NetworkBlackhole(place="repository"), made)
    fault.windows = list(WINDOWS)
    assert bool(fault.bite()) is proves


@pytest.mark.parametrize(("opened", "proves"), [(DURING, True), (AFTER, False)])
def test_lost_packets_prove_by_connections_of_the_job(opened: float, proves: bool) -> None:
    made = ground()
    happened(made, "open", opened, conn=3)
    ended(made)
    happened(made, "lost", 19.0, conn=3, cause="fault", count=7)
    fault = Loss("fault", NetworkLoss(place="repository"), made)
    fault.windows = list(WINDOWS)
    assert bool(fault.bite()) is proves


@pytest.mark.parametrize(("at", "proves"), [(DURING, True), (AFTER, False)])
def test_attempts_whose_packets_were_lost_prove_by_their_time(at: float, proves: bool) -> None:
    made = ground()
    ended(made)
    happened(made, "lost", at, conn=0, cause="fault", count=7)
    fault = Loss("fault", NetworkLoss(place="repository"), made)
    fault.windows = list(WINDOWS)
    assert bool(fault.bite()) is proves


@pytest.mark.parametrize(("at", "proves"), [(DURING, True), (AFTER, False)])
def test_bits_that_flip_after_the_job_prove_nothing(at: float, proves: bool) -> None:
    made = ground()
    happened(made, "flip", at, conn=3, cause="fault", offset=5000, was=1, now=2)
    ended(made)
    fault = Corrupt("fault", NetworkCorrupt(place="repository"), made)
    fault.windows = list(WINDOWS)
    assert bool(fault.bite()) is proves


def toxic(fault: Any) -> Any:
    fault.windows = list(WINDOWS)
    fault._toxics = {"fault_upstream": None}
    fault._moved, fault._connections = [60_000, 10], 1
    return fault


@pytest.mark.parametrize(("at", "proves"), [(DURING, True), (AFTER, False)])
def test_pieces_after_the_job_prove_nothing(at: float, proves: bool) -> None:
    made = ground()
    happened(made, "fault_hit", at, conn=3, by="toxic:fault_upstream", what="sliced", pieces=4)
    ended(made)
    fault = toxic(Slice("fault", NetworkSlice(place="repository"), made))
    assert bool(fault.bite()) is proves


@pytest.mark.parametrize(
    ("tells", "at", "proves"),
    [(True, DURING, True), (True, AFTER, False), (True, None, False), (False, None, True)],
    ids=["it says so", "of a list", "it says nothing", "it never says anything"],
)
def test_a_delay_is_proved_by_the_servers_own_word(tells: bool, at: float | None, proves: bool) -> None:
    made = ground(tells=tells)
    if at is not None:
        happened(made, "fault_hit", at, conn=3, by="toxic:fault_upstream", what="delayed", ms=40)
    ended(made)
    fault = toxic(Latency("fault", NetworkLatency(place="repository", delay=0.04), made))
    assert bool(fault.bite()) is proves


@pytest.mark.parametrize(
    ("window", "held"),
    [((1.0, 1.05), None), ((1.0, 1.5), "0.50"), ((9.0, 20.0), "1.10")],
    ids=["too short", "its window", "until the job's end, and the lag of the tap"],
)
def test_a_slow_link_held_nothing_up_for_longer_than_the_job_met_it(
    window: tuple[float, float], held: str | None
) -> None:
    made = ground()
    ended(made)
    fault = toxic(Slow("fault", NetworkSlow(place="repository", rate=10_000), made))
    fault.windows = [window]
    expected = [f"60000 bytes up, 10 down: held up for {held} s or more"] if held else []
    assert fault.bite() == expected


def test_bytes_of_others_after_the_job_are_not_counted() -> None:
    made = ground()
    totals = {"up": 0, "down": 0, "accepted": 0, "open": 0}
    cast("Any", made.link).state = lambda: dict(totals)
    fault = toxic(Slow("fault", NetworkSlow(place="repository", rate=10_000), made))
    fault._toxics, fault._moved, fault.windows = {}, [0, 0], [(1.0, None)]
    fault._before = dict(totals)
    totals["up"] = 100
    ended(made)
    fault.after_job()
    totals["up"] = 90_000
    fault.end(20.0)
    fault.undo()
    assert fault.moved() == (100, 0)


@pytest.mark.parametrize(("cause", "proves"), [("", True), ("fault", True), ("other", False)])
def test_what_another_fault_cut_does_not_show_that_the_server_was_away(cause: str, proves: bool) -> None:
    means = SimpleNamespace(exits={7: (-9, 0.0)})
    made = ground(means=cast("Any", means))
    happened(made, "close", DURING, conn=3, reason="down", cause=cause)
    happened(made, "refused", DURING, conn=0, cause=cause, count=2)
    ended(made)
    fault = Kill("fault", ServiceKill(place="repository"), made)
    fault._away, fault._pid = [(1.0, 9.0)], 7
    assert bool(fault.bite()) is proves
