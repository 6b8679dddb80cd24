"""What a rule does with a call: counting, matching, deciding. No system calls here."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from backupchaos.syscalls.conditions import CONDITIONS
from backupchaos.syscalls.tables import EVERYTHING, Call, expand

O_WRONLY, O_RDWR, O_CREAT = 1, 2, 0o100


def compile_paths(patterns: Sequence[str]) -> re.Pattern[bytes]:
    """One expression for all patterns, on bytes: ``fnmatch`` style, ``/x/**`` is /x and everything below."""
    parts = []
    for pattern in patterns:
        raw = os.fsencode(pattern).decode("latin-1")
        if raw.endswith("/**"):
            parts.append(fnmatch.translate(raw[:-3]).replace(r"\Z", "").replace(r"\z", "") + r"(?s:/.*)?")
        else:
            parts.append(fnmatch.translate(raw).replace(r"\Z", "").replace(r"\z", ""))
    return re.compile("|".join(f"(?:{part})" for part in parts).encode("latin-1"))


class Rule:
    """A ``SyscallRule`` with its counters; the counters start afresh whenever it is armed."""

    __slots__ = (
        "_match",
        "acted",
        "action",
        "armed",
        "bytes",
        "calls",
        "condition",
        "definition",
        "delay",
        "errno",
        "matched",
        "measure",
        "name",
        "reported",
        "size",
        "skip",
        "times",
    )  # fmt: skip

    def __init__(self, definition: Mapping[str, Any]) -> None:
        self.definition = {key: value for key, value in definition.items() if key != "armed"}
        self.name: str = definition["name"]
        self.action: str = definition["action"]
        self.calls: dict[int, tuple[Call, str]] = expand(definition["calls"])
        self._match = compile_paths(definition["paths"]).fullmatch
        self.errno: int = definition["errno"]
        self.skip: int = definition["skip"]
        self.times: int | None = definition["times"]
        self.delay: float = definition["delay"]
        self.size: int = definition["size"]
        self.measure: str = definition["measure"]
        self.condition = CONDITIONS.get(self.measure)
        """What else must hold of a call, in measures that look at the file system."""
        self._check()
        if self.action == "clock":  # who reads another clock waits for another moment
            self.calls |= expand(("clockwait",))
        self.armed = False
        self.arm(bool(definition["armed"]))

    def _check(self) -> None:
        """Raise ``ValueError`` for what cannot be meant."""
        families = {"short": "write", "clock": "clock"}
        wanted = families.get(self.action)
        if wanted is None:
            return
        if wanted == "clock" and (self.skip or self.times is not None):
            raise ValueError(f"rule {self.name}: the action 'clock' takes neither skip nor times")
        for call, _ in self.calls.values():
            if wanted not in call.families:
                raise ValueError(
                    f"rule {self.name}: the action {self.action!r} is for calls of the family {wanted!r}, "
                    f"not for {call.name!r}"
                )

    def arm(self, armed: bool) -> None:
        """Switch; going from off to on resets all counts."""
        if (armed and not self.armed) or not hasattr(self, "matched"):
            self.matched = self.acted = self.bytes = self.reported = 0
        self.armed = armed

    def match(self, paths: Sequence[bytes]) -> bytes | None:
        """The first of the call's paths that the rule means; with the action ``clock`` patterns mean nothing."""
        for path in paths:
            if self._match(path) or path == EVERYTHING or self.action == "clock":
                return path
        return None

    def sees(self, size: int, reserves: bool = False) -> bool:
        """Count a matching call of an armed rule that writes ``size`` bytes; True when the rule acts on it.

        With ``measure`` bytes the first call that would take the sum beyond ``skip`` is acted on, and
        all that follow, up to ``times``. Room that a call ``reserves`` takes part in that as what is to come; it is
        counted once it is written. A write that is not longer than ``size`` cannot be cut short.
        """
        self.matched += 1
        reached = self.bytes + size
        if not reserves:
            self.bytes = reached
        if self.action == "short" and size <= self.size:
            return False
        past = reached > self.skip if self.measure == "bytes" else self.matched > self.skip
        if not past or (self.times is not None and self.acted >= self.times):
            return False
        self.acted += 1
        return True

    def totals(self) -> dict[str, int]:
        """Counts since the rule was armed."""
        return {"matched": self.matched, "acted": self.acted, "bytes": self.bytes}


def open_is(kinds: str, flags: int) -> bool:
    """Whether an open with these flags is of one of those kinds."""
    writes = bool(flags & (O_WRONLY | O_RDWR))
    creates = bool(flags & O_CREAT)
    return any(
        {"create": creates, "openwrite": writes, "openread": not writes}[kind] for kind in kinds.split("+")
    )
