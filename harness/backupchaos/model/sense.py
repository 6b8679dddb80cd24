"""What no value shows alone: parts of one scenario that contradict one another.

A scenario that can never pass, or a fault that can never strike, is a mistake of its author: better said with
a line number before the run than with a strange verdict after it.
"""

from __future__ import annotations

from collections.abc import Iterator

from backupchaos.durations import format_duration
from backupchaos.model.scenario import RESERVED, Scenario
from backupchaos.model.sense_base import Contradiction, Written, clash, given
from backupchaos.model.sense_expect import EXPECT_RULES
from backupchaos.model.sense_faults import FAULT_RULES
from backupchaos.model.sense_together import together
from backupchaos.units import format_size

LEAST_VOLUME = 64 * 1024
"""Bytes below which a volume is a slip of the pen."""


def contradictions(scenario: Scenario, written: Written) -> Iterator[Contradiction]:
    """Every contradiction of a valid scenario; ``written`` is the file, to tell given values from defaults."""
    for rule in (_source, _services, _volumes, _times, _tags, *EXPECT_RULES):
        yield from rule(scenario, written)
    wrong = set()
    for name, fault in scenario.faults.items():
        for fault_rule in FAULT_RULES:
            for found in fault_rule(scenario, name, fault, written):
                wrong.add(name)
                yield found
    yield from _twice(scenario, written)
    yield from together(scenario, wrong)


MOST = 100 << 30
"""Bytes of a generated source beyond which no machine has the memory for it, its repository and its restore."""


def _source(scenario: Scenario, written: Written) -> Iterator[Contradiction]:
    source = scenario.source
    for key in ("size", "new"):
        if getattr(source, key) > MOST:
            message = f"{format_size(getattr(source, key))} cannot be generated: volumes lie in memory"
            hint = f"Write at most {format_size(MOST)}; a few MiB tell the same story."
            yield clash(("source", key), "too-large", message, hint)
    if source.path is None:
        return
    for key in ("files", "size", "names"):
        if given(written, "source", key):
            message = f"'{key}' describes a generated source, and 'path' gives a real one"
            yield clash(
                ("source", key),
                "path-and-generated",
                message,
                f"Remove '{key}' or 'path'.",
                ("source", "path"),
            )


def _services(scenario: Scenario, written: Written) -> Iterator[Contradiction]:
    for name in scenario.services:
        if name in RESERVED:
            message = f"'{name}' cannot name a service: the word means something else already"
            hint = f"Choose another, such as 'catalog'. Taken: {', '.join(RESERVED)}."
            yield clash(("services", name), "reserved-name", message, hint, at_key=True)


def _volumes(scenario: Scenario, written: Written) -> Iterator[Contradiction]:
    for name in ("source", "repository", "cache", "temp"):
        one = getattr(scenario.volumes, name)
        if one is not None and one < LEAST_VOLUME:
            message = f"a volume of {format_size(one)} holds not even the names of its files"
            hint = f"Write {format_size(LEAST_VOLUME)} or more, or leave it out."
            yield clash(("volumes", name), "too-small", message, hint)
            return
    size, source = scenario.volumes.source, scenario.source
    if size is not None and source.path is None and size < source.size + source.new:
        needed = format_size(source.size + source.new)
        message = f"the volume cannot hold the source: size and new data take {needed}"
        also = (("source", "size"), ("source", "new"))
        yield clash(
            ("volumes", "source"), "too-small", message, f"Write more than {needed}, or leave it out.", *also
        )


def _times(scenario: Scenario, written: Written) -> Iterator[Contradiction]:
    for key in ("deadline", "silence"):
        if getattr(scenario, key) <= 0:
            yield clash(
                (key,), "zero", f"'{key}' is zero: every job would be ended at once", "Write such as 2m."
            )
    if given(written, "silence") and scenario.silence > scenario.deadline:
        limit = format_duration(scenario.deadline)
        message = f"'silence' is longer than the deadline of {limit}, so it never counts"
        yield clash(
            ("silence",), "after-deadline", message, "Shorten it, or raise 'deadline'.", ("deadline",)
        )


def _tags(scenario: Scenario, written: Written) -> Iterator[Contradiction]:
    for number, tag in enumerate(scenario.tags):
        if tag in scenario.tags[:number]:
            yield clash(
                ("tags", number), "twice", f"the tag '{tag}' is given twice", "Remove one.", ("tags",)
            )


def _twice(scenario: Scenario, written: Written) -> Iterator[Contradiction]:
    seen: list[str] = []
    for name, fault in scenario.faults.items():
        for other in seen:
            if scenario.faults[other] == fault:
                message = f"the fault '{name}' is the same as '{other}'"
                yield clash(
                    ("faults", name), "twice", message, "Remove one, or let them differ.", ("faults", other)
                )
                break
        seen.append(name)
