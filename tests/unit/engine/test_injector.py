"""Whatever an undo raises, the others are still tried, and what went wrong first is still known."""

from __future__ import annotations

from typing import Any, cast

import pytest

from backupchaos.engine.injector import Injector
from backupchaos.errors import HarnessBroken, Unfit
from backupchaos.faults.base import Fault, Ground
from backupchaos.history import History
from backupchaos.model.faults.network import NetworkDown


class Tried(Fault[NetworkDown]):
    """Remembers what was done to it, and raises where it is told to."""

    mechanism = "none"
    cause = ""

    def __init__(self, name: str, raises: dict[str, Exception] | None = None) -> None:
        super().__init__(name, NetworkDown(place="repository"), cast(Ground, None))
        self.raises = raises or {}
        self.done: list[str] = []

    def _do(self, what: str) -> None:
        self.done.append(what)
        if what in self.raises:
            raise self.raises[what]

    def apply(self) -> str:
        self._do("apply")
        return "done"

    def undo(self) -> None:
        self._do("undo")

    def verify_undone(self) -> None:
        self._do("verify_undone")

    def bite(self) -> list[str]:
        return []


@pytest.fixture
def history() -> History:
    return History()


def told(history: History, name: str) -> list[str]:
    return [event["status"] for event in history.of("fault") if event["name"] == name]


@pytest.mark.parametrize("error", [Unfit("leave less"), HarnessBroken("no mount")], ids=repr)
def test_a_scenario_that_does_not_fit_is_told_from_a_defect(history: History, error: HarnessBroken) -> None:
    with pytest.raises(HarnessBroken, match="fault a could not be applied: ") as caught:
        Injector(history).apply(Tried("a", {"apply": error}))
    assert type(caught.value) is type(error)


@pytest.mark.parametrize("where", ["undo", "verify_undone"])
@pytest.mark.parametrize("error", [KeyError("up"), AttributeError("_original"), OSError(5, "no")], ids=repr)
def test_an_undo_that_raises_anything_keeps_no_other_from_being_tried(
    history: History, where: str, error: Exception
) -> None:
    injector = Injector(history)
    faults: list[Tried] = [Tried("first"), Tried("second", {where: error}), Tried("third")]
    for fault in faults:
        injector.apply(fault)
    for fault in reversed(faults):
        injector.undo(fault)
    assert [fault.done[1:] for fault in faults[::2]] == [["undo", "verify_undone"]] * 2
    assert [told(history, fault.name)[-1] for fault in faults] == ["undone", "failed", "undone"]
    (failure,) = injector.failures
    assert failure.startswith("fault second could not be undone: ")
    ours = not isinstance(error, OSError)
    assert (f"a defect of the harness, {type(error).__name__}: " in failure) is ours
    assert ["_do" in event["traceback"] for event in history.of("crash")] == [True] * ours


def test_a_fault_that_was_never_begun_is_left_alone(history: History) -> None:
    """It was due in the step in which another one could not be applied."""
    injector, fault = Injector(history), Tried("fault")
    injector.undo(fault)
    assert (fault.done, told(history, "fault"), injector.failures) == ([], [], [])


def test_a_fault_that_is_over_is_not_undone_again(history: History) -> None:
    """It was due again in the step in which another one could not be applied."""
    injector, fault = Injector(history), Tried("fault")
    injector.apply(fault)
    injector.undo(fault)
    injector.undo(fault)
    assert fault.done.count("undo") == 1


@pytest.mark.parametrize(
    ("error", "words"),
    [(HarnessBroken("no room"), "no room"), (KeyError("up"), "a defect of the harness, KeyError: 'up'")],
)
def test_a_fault_that_failed_to_come_is_undone_too(history: History, error: Exception, words: str) -> None:
    injector, fault = Injector(history), Tried("fault", {"apply": error})
    with pytest.raises(HarnessBroken) as caught:
        injector.apply(fault)
    assert str(caught.value) == f"fault fault could not be applied: {words}"
    injector.undo(fault)
    assert told(history, "fault") == ["applying", "failed", "undoing", "undone"]


def test_what_may_fail_beside_the_faults_is_remembered(history: History) -> None:
    def fails() -> Any:
        raise RuntimeError("gone")

    injector = Injector(history)
    assert injector.attempt("never", lambda: None) is None
    assert injector.attempt("the job could not be let go", fails) is not None
    assert injector.failures == ["the job could not be let go: a defect of the harness, RuntimeError: gone"]
