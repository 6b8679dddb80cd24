"""What proves that a job met a full disk, and what only sounds like it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from backupchaos.faults.base import Ground
from backupchaos.faults.repository import Delete
from backupchaos.faults.storage import Full, NearlyFull
from backupchaos.history import History
from backupchaos.model.faults.repository import RepositoryDelete
from backupchaos.model.faults.storage import DiskFull, DiskNearlyFull


@pytest.mark.parametrize(
    ("text", "at", "proves"),
    [
        ("write failed: No space left on device", 12.0, True),
        ("starting full backup", 12.0, False),
        ("write failed: No space left on device", 20.0, False),
        ("write failed: No space left on device", 5.0, False),
    ],
    ids=["the kernel's words", "another full", "after the fault", "before the fault"],
)
def test_only_the_kernels_words_in_time_prove_a_full_disk(text: str, at: float, proves: bool) -> None:
    history = History(clock=lambda: 0.0)
    history.append("log", at=at, job="fault", text=text)
    ground = Ground(sandbox=cast("Any", None), history=history, seed=1, source="", repository="")
    fault = Full("full", DiskFull(place="repository"), ground)
    fault.windows = [(10.0, 15.0)]
    assert bool(fault.bite()) is proves


NEEDED = [("a", 1_000_000)]


@pytest.mark.parametrize(
    ("fresh", "company", "text", "proves"),
    [
        (NEEDED, False, "gave up", True),
        (NEEDED, True, "gave up", False),
        ([("a", 100)], False, "gave up", False),
        (NEEDED, True, "not enough free space", True),
        ([("a", 100)], False, "not enough free space", True),
    ],
    ids=["less than needed", "another fault", "enough for all", "its words beside another", "its words"],
)
def test_a_question_for_the_space_proves_only_with_an_answer_that_stops_the_job(
    fresh: list[tuple[str, int]], company: bool, text: str, proves: bool
) -> None:
    history = History(clock=lambda: 0.0)
    sandbox = cast("Any", SimpleNamespace(capabilities={"syscalls"}))
    ground = Ground(sandbox=sandbox, history=history, seed=1, source="", repository="", fresh=fresh)
    fault = Full("full", DiskFull(place="repository", headroom=65536), ground)
    fault.windows, fault._armed = [(10.0, 15.0)], [(10.0, 15.0)]
    history.append("fault", at=10.0, name="full")
    if company:
        history.append("fault", at=10.0, name="rot")
    history.append("syscall", at=12.0, rule="full.asked", action="observe", call="statfs", path="/repo")
    history.append("log", at=12.5, job="fault", text=text)
    history.append("job.end", at=13.0, job="fault", outcome="failure")
    assert bool(fault.bite()) is proves


@pytest.mark.parametrize(
    ("at", "begins", "proves"), [(12.0, 10.0, True), (14.0, 10.0, False), (14.0, 13.5, True)]
)
def test_what_a_server_writes_for_others_after_the_job_proves_nothing(
    at: float, begins: float, proves: bool
) -> None:
    history = History(clock=lambda: 0.0)
    sandbox = cast("Any", SimpleNamespace(capabilities={"syscalls"}))
    link = cast("Any", object())
    ground = Ground(sandbox=sandbox, history=history, seed=1, source="", repository="", link=link)
    fault = Full("full", DiskFull(place="repository"), ground)
    fault.windows, fault._armed = [(begins, 20.0)], [(begins, 20.0)]
    history.append("syscall", at=at, rule="full.unfit", action="observe", call="write", path="/repo/x")
    history.append("job.end", at=13.0, job="fault", outcome="failure")
    assert bool(fault.bite()) is proves


@pytest.mark.parametrize(
    ("place", "fresh", "least", "meanwhile", "proves"),
    [
        ("repository", 500, 3900, 4000, True),
        ("repository", 499, 3900, 4000, False),
        ("repository", 499, 2000, 4000, True),
        ("repository", 499, 3900, 2000, True),
        ("cache", 4000, 3900, 4000, False),
        ("cache", 0, 1999, 4000, True),
    ],
    ids=[
        "new data",
        "too little new",
        "used up",
        "used up meanwhile",
        "new data go elsewhere",
        "used up there",
    ],
)
def test_what_was_left_must_have_been_scarce(
    place: Any, fresh: int, least: int, meanwhile: int, proves: bool
) -> None:
    history = History(clock=lambda: 0.0)
    sandbox = cast("Any", SimpleNamespace(capabilities={"syscalls"}))
    ground = Ground(
        sandbox=sandbox,
        history=history,
        seed=1,
        source="",
        repository="",
        fresh=[("a", fresh)] if fresh else [],
    )
    ground.free_space.append((12.0, place, cast("Any", SimpleNamespace(free=meanwhile))))
    ground.free_space.append((25.0, place, cast("Any", SimpleNamespace(free=0))))
    fault = NearlyFull("narrow", DiskNearlyFull(place=place, left=4000), ground)
    fault.windows, fault._armed, fault._least = [(10.0, 15.0)], [(10.0, 15.0)], least
    history.append("syscall", at=12.0, rule="narrow.wrote", action="observe", call="write", path="/repo/x")
    assert bool(fault.bite()) is proves


def test_a_write_that_did_not_fit_needs_no_other_proof() -> None:
    history = History(clock=lambda: 0.0)
    sandbox = cast("Any", SimpleNamespace(capabilities={"syscalls"}))
    ground = Ground(sandbox=sandbox, history=history, seed=1, source="", repository="")
    fault = NearlyFull("narrow", DiskNearlyFull(place="repository", left=4000), ground)
    fault.windows, fault._armed = [(10.0, 15.0)], [(10.0, 15.0)]
    history.append("syscall", at=12.0, rule="narrow.unfit", action="observe", call="write", path="/repo/x")
    assert fault.bite()


@pytest.mark.parametrize("company", [False, True])
def test_a_job_that_fails_beside_another_fault_does_not_prove_damage(company: bool) -> None:
    history = History(clock=lambda: 0.0)
    ground = Ground(sandbox=cast("Any", None), history=history, seed=1, source="", repository="")
    fault = Delete("rot", RepositoryDelete(place="repository"), ground)
    fault.damaged = []
    history.append("fault", at=10.0, name="rot")
    if company:
        history.append("fault", at=10.0, name="full")
    history.append("job.end", at=13.0, job="fault", outcome="failure")
    assert bool(fault.bite()) is not company
