"""The supervisor's thinking, without a supervisor: counting, patterns, families, filter programs."""

from __future__ import annotations

import struct
from dataclasses import asdict
from typing import Any

import pytest

from backupchaos.environments.base import SyscallRule
from backupchaos.syscalls import tables
from backupchaos.syscalls.filters import program
from backupchaos.syscalls.rules import Rule, compile_paths, open_is

READ, WRITE, CREATE = 0, 1, 0o101


def make(**more: Any) -> Rule:
    return Rule(asdict(SyscallRule("r", ("write",), ("/x",), **{"armed": True, **more})))


@pytest.mark.parametrize(
    ("skip", "times", "acts"),
    [
        (0, None, "11111"),
        (0, 1, "10000"),
        (2, None, "00111"),
        (2, 2, "00110"),
        (9, 1, "00000"),
        (0, 0, "00000"),
    ],
)
def test_counting_calls(skip: int, times: int | None, acts: str) -> None:
    rule = make(skip=skip, times=times)
    assert "".join("01"[rule.sees(0)] for _ in range(5)) == acts
    assert rule.totals() == {"matched": 5, "acted": acts.count("1"), "bytes": 0}


def test_counting_bytes() -> None:
    rule = make(skip=10, measure="bytes", times=2)
    assert [rule.sees(n) for n in (4, 6, 0, 1, 0, 5)] == [False, False, False, True, True, False]


def test_arming_starts_afresh_only_from_off() -> None:
    rule = make(times=1)
    assert rule.sees(1)
    rule.arm(True)
    assert not rule.sees(1)
    rule.arm(False)
    assert rule.totals()["matched"] == 2, "counts stay readable after disarming"
    rule.arm(True)
    assert rule.totals() == {"matched": 0, "acted": 0, "bytes": 0}
    assert rule.sees(1)


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("/a/**", ["/a", "/a/b", "/a/b/c", "/a/\n", "/a/\udcff"], ["/ab", "/", "/b/a/c"]),
        ("/a/*.bin", ["/a/x.bin", "/a/b/x.bin", "/a/\udcff.bin"], ["/a/x.bin2", "/a/x", "x/a/x.bin"]),
        ("/a[[]1]", ["/a[1]"], ["/a1"]),
        ("/a.b", ["/a.b"], ["/axb", "/a.bc", "/a.b/"]),
        ("/é", ["/é"], ["/e"]),
        ("/**", ["/", "/x", ""], ["x"]),
    ],
)
def test_patterns(pattern: str, yes: list[str], no: list[str]) -> None:
    compiled = compile_paths([pattern])
    assert [p for p in yes if not compiled.fullmatch(p.encode(errors="surrogateescape"))] == []
    assert [p for p in no if compiled.fullmatch(p.encode(errors="surrogateescape"))] == []


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_families_hold_on_both_architectures(machine: str) -> None:
    families = (
        "open",
        "read",
        "write",
        "fsync",
        "rename",
        "unlink",
        "mkdir",
        "connect",
        "stat",
        "link",
        "truncate",
        "flock",
    )
    for family in families:
        assert tables.expand((family,), machine), family
    numbers = [call.number for call in tables.calls(machine)]
    assert len(numbers) == len(set(numbers))


def test_single_calls_and_names_of_another_architecture() -> None:
    assert [c.name for c, _ in tables.expand(("openat",), "x86_64").values()] == ["openat"]
    assert {c.name for c, _ in tables.expand(("open",), "x86_64").values()} == {
        "open",
        "openat",
        "openat2",
        "creat",
    }
    assert {c.name for c, _ in tables.expand(("rmdir",), "aarch64").values()} == {"unlinkat"}
    with pytest.raises(ValueError, match="unknown system call 'opened'"):
        tables.expand(("opened",))


def test_kinds_of_open_cover_every_open_once_or_more() -> None:
    assert [open_is(k, READ) for k in tables.OPEN_KINDS] == [True, False, False]
    assert [open_is(k, WRITE) for k in tables.OPEN_KINDS] == [False, True, False]
    assert [open_is(k, CREATE) for k in tables.OPEN_KINDS] == [False, True, True]
    both = tables.expand(("create", "open"), "x86_64")
    assert {kind for _, kind in both.values()} == {""}, "the family includes its kinds"


def test_filter_program_sends_exactly_the_listed_calls() -> None:
    code = program([257, 1, 82], "x86_64")
    steps = [struct.unpack_from("HBBI", code, at) for at in range(0, len(code), 8)]

    def verdict(arch: int, number: int) -> int:
        at, accumulator = 0, 0
        while True:
            what, yes, no, value = steps[at]
            if what == 0x06:
                return int(value)
            if what == 0x20:
                accumulator = {0: number, 4: arch}[value]
                at += 1
            else:
                at += 1 + (yes if accumulator == value else no)

    notify, allow = 0x7FC00000, 0x7FFF0000
    assert [verdict(0xC000003E, n) for n in (1, 82, 257, 0, 2, 258, 0x40000001)] == [notify] * 3 + [allow] * 4
    assert verdict(0x40000003, 1) == allow, "32-bit calls have other numbers"
