"""Expectations that contradict one another, the envelope, or what is waived."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from backupchaos.durations import format_duration
from backupchaos.model.expectations import TRANSITIONS
from backupchaos.model.patterns import PATH, names_a_file
from backupchaos.model.positions import Path
from backupchaos.model.scenario import Scenario
from backupchaos.model.sense_base import Contradiction, Written, clash, given
from backupchaos.units import format_range

_OUTCOME: Path = ("expect", "outcome")
_STATES: Path = ("expect", "states")
_RETRIES: Path = ("expect", "retries")
_JUDGED_AS_DECLARED = ("outcome", "states", "retries", "backoff", "within", "log", "check")
FEWEST_FOR_BACKOFF = 3
"""Three retries have two gaps between them; with fewer there is nothing that could grow."""


def _backoff(scenario: Scenario, written: Written) -> Iterator[Contradiction]:
    if scenario.expect.backoff is None:
        return
    path, retries = ("expect", "backoff"), scenario.expect.retries
    if retries is None:
        message = "gaps between retries are expected, but no retries"
        yield clash(path, "backoff-without-retries", message, "Add such as 'retries: 3..10'.", _RETRIES)
    elif retries[1] is not None and retries[1] < FEWEST_FOR_BACKOFF:
        message = f"growing gaps need {FEWEST_FOR_BACKOFF} retries, and 'retries' is {format_range(retries)}"
        yield clash(
            path, "backoff-without-retries", message, "Raise 'retries', or remove 'backoff'.", _RETRIES
        )


def _envelope(scenario: Scenario, written: Written) -> Iterator[Contradiction]:
    outcome, envelope = scenario.expect.outcome, scenario.envelope
    if outcome is not None:
        wrong = {"must_survive": {"partial", "failure"}, "must_fail_loudly": {"success"}}.get(envelope, set())
        for word in outcome:
            if word in wrong:
                message = f"the outcome '{word}' contradicts 'envelope: {envelope}'"
                hint = "Change one of them; 'envelope: either' allows every outcome."
                yield clash(_OUTCOME, "envelope", message, hint, ("envelope",))
        if len(set(outcome)) != len(outcome):
            yield clash(_OUTCOME, "twice", "an outcome is given twice", "Remove one.")
    if envelope == "must_fail_loudly" and not scenario.faults:
        message = "the job must fail, but no fault is given"
        yield clash(("envelope",), "envelope", message, "Add 'faults:', or remove 'envelope'.", ("faults",))


def _states(scenario: Scenario, written: Written) -> Iterator[Contradiction]:
    states = scenario.expect.states
    if states is None:
        return
    if states[0] != "PENDING":
        yield clash((*_STATES, 0), "states", "a job begins with PENDING", "Put PENDING first.", _STATES)
    for number, (before, after) in enumerate(pairwise(states), 1):
        if after not in TRANSITIONS[before]:
            legal = " or ".join(sorted(TRANSITIONS[before])) or "nothing"
            message = f"no job goes from {before} to {after}"
            yield clash((*_STATES, number), "states", message, f"After {before} comes {legal}.", _STATES)
    if TRANSITIONS[states[-1]]:
        message = f"a job does not end with {states[-1]}"
        yield clash((*_STATES, len(states) - 1), "states", message, "Put SUCCESS or FAILED last.", _STATES)
    yield from _states_and_retries(scenario, states)
    yield from _states_and_outcome(scenario, states)


def _states_and_retries(scenario: Scenario, states: tuple[str, ...]) -> Iterator[Contradiction]:
    retries = scenario.expect.retries
    if retries is None:
        return
    if retries[1] == 0 and "RETRYING" in states:
        at = (*_STATES, states.index("RETRYING"))
        message = "RETRYING is expected, but 'retries' is 0"
        yield clash(
            at, "states-and-retries", message, "Raise 'retries', or remove RETRYING.", _STATES, _RETRIES
        )
    if retries[0] > 0 and "RETRYING" not in states:
        message = f"'retries' is {format_range(retries)}, but RETRYING is not among the states"
        yield clash(_RETRIES, "states-and-retries", message, "Add RETRYING, or write 'retries: 0'.", _STATES)


def _states_and_outcome(scenario: Scenario, states: tuple[str, ...]) -> Iterator[Contradiction]:
    allowed: set[str] = set(scenario.expect.outcome or ())
    if not allowed:
        allowed = {"must_survive": {"success"}, "must_fail_loudly": {"partial", "failure"}}.get(
            scenario.envelope, set()
        )
    at = (*_STATES, len(states) - 1)
    hint = "Let the last state and the outcome agree."
    also = (_STATES, _OUTCOME, ("envelope",))
    if states[-1] == "SUCCESS" and allowed == {"failure"}:
        yield clash(at, "states-and-outcome", "SUCCESS is expected, but the outcome is failure", hint, *also)
    if states[-1] == "FAILED" and allowed == {"success"}:
        yield clash(at, "states-and-outcome", "FAILED is expected, but the outcome is success", hint, *also)


def _within(scenario: Scenario, written: Written) -> Iterator[Contradiction]:
    within, path = scenario.expect.within, ("expect", "within")
    if within is None:
        return
    if within <= 0:
        yield clash(path, "zero", "'within' is zero: no job is so fast", "Write such as 2m.")
    elif within > scenario.deadline:
        limit = format_duration(scenario.deadline)
        message = f"the job is ended at the deadline of {limit}, before 'within' is over"
        hint = f"Write 'deadline: {format_duration(within)}' or more, or shorten 'within'."
        yield clash(path, "after-deadline", message, hint, ("deadline",))


def _silent(scenario: Scenario, written: Written) -> Iterator[Contradiction]:
    silent, path = scenario.expect.silent, ("expect", "silent")
    if silent is None:
        return
    if silent <= 0:
        yield clash(path, "zero", "'silent' is zero: no job is so talkative", "Write such as 10s.")
    elif silent > scenario.silence:
        limit = format_duration(scenario.silence)
        message = f"the job is ended after a silence of {limit}, before 'silent' is over"
        hint = f"Write 'silence: {format_duration(silent)}' or more, or shorten 'silent'."
        yield clash(path, "after-deadline", message, hint, ("silence",))


def _under_fault(scenario: Scenario, written: Written) -> Iterator[Contradiction]:
    if scenario.expect.under_fault and not scenario.faults:
        message = "there is no fault under which the tool's commands could be tried"
        yield clash(("expect", "under_fault"), "no-fault", message, "Add one under 'faults'.", ("faults",))


def _log(scenario: Scenario, written: Written) -> Iterator[Contradiction]:
    named = any(fault.picks_files for fault in scenario.faults.values())
    for number, record in enumerate(scenario.expect.log):
        if names_a_file(record.matches) and not named:
            message = f"{PATH} stands for a faulted file, and no fault picks files"
            hint = "Write the text out, or add such as 'file.locked: source'."
            yield clash(("expect", "log", number, "matches"), "no-faulted-file", message, hint, ("faults",))


def _waived(scenario: Scenario, written: Written) -> Iterator[Contradiction]:
    if "as_declared" in scenario.waive:
        for key in _JUDGED_AS_DECLARED:
            if given(written, "expect", key):
                message = f"'{key}' is expected, but the law 'as_declared' that judges it is waived"
                yield _both(key, "as_declared", message)
    for law, key in (("honest", "restore"), ("no_collateral", "older")):
        if law in scenario.waive and given(written, "expect", key):
            yield _both(key, law, f"'{key}' is expected, but the law '{law}' that judges it is waived")
    if "recoverable" in scenario.waive and scenario.recover.unlock:
        message = "an unlock is allowed for the recovery, but the law 'recoverable' is waived"
        yield clash(("recover", "unlock"), "waived", message, "Keep one of them.", ("waive", "recoverable"))


def _both(key: str, law: str, message: str) -> Contradiction:
    hint = f"Remove '{key}', or 'waive: {law}'."
    return clash(("expect", key), "waived", message, hint, ("waive", law))


EXPECT_RULES = (_backoff, _envelope, _states, _within, _silent, _under_fault, _log, _waived)
