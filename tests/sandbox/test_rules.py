"""The supervisor's thinking, without a supervisor: counting, patterns, families, filter programs."""

from __future__ import annotations

import re
import struct
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from backupchaos.environments.base import SyscallRule
from backupchaos.environments.local import kernel, vdso
from backupchaos.syscalls import probe, tables
from backupchaos.syscalls.filters import program, wanted_by
from backupchaos.syscalls.rules import Rule, compile_paths, open_is

READ, WRITE, CREATE = 0, 1, 0o101


def make(**more: Any) -> Rule:
    given = {"calls": ("write",), "paths": ("/x",), "armed": True, **more}
    return Rule(asdict(SyscallRule("r", **given)))


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


def test_reserved_room_stops_but_is_counted_when_it_is_written() -> None:
    rule = make(skip=10, measure="bytes", times=2)
    assert not rule.sees(10, reserves=True)
    assert not rule.sees(4)
    assert rule.sees(7, reserves=True)
    assert rule.totals()["bytes"] == 4
    assert [rule.sees(n) for n in (6, 1)] == [False, True]


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
    numbers = [call.number for call in tables.calls(machine) if not call.name.endswith("_in")]
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
    with pytest.raises(ValueError, match="unknown system call or family 'opened'"):
        tables.expand(("opened",))


def test_kinds_of_open_cover_every_open_once_or_more() -> None:
    assert [open_is(k, READ) for k in tables.OPEN_KINDS] == [True, False, False]
    assert [open_is(k, WRITE) for k in tables.OPEN_KINDS] == [False, True, False]
    assert [open_is(k, CREATE) for k in tables.OPEN_KINDS] == [False, True, True]
    both = tables.expand(("create", "open"), "x86_64")
    assert {kind for _, kind in both.values()} == {""}, "the family includes its kinds"


def test_kinds_of_open_add_up() -> None:
    both = {kinds for _, kinds in tables.expand(("create", "openwrite"), "x86_64").values()}
    assert both == {"create+openwrite"}
    assert [open_is("create+openwrite", flags) for flags in (READ, WRITE, CREATE)] == [False, True, True]
    assert {kinds for _, kinds in tables.expand(("openread", "openread"), "x86_64").values()} == {"openread"}
    assert {kinds for _, kinds in tables.expand(("openread", "open"), "x86_64").values()} == {""}


def test_a_copy_is_seen_from_both_sides() -> None:
    def copies(*names: str) -> list[tuple[str, list[int]]]:
        (call, _) = tables.expand(names, "x86_64")[326]
        return call.where

    assert copies("write") == [("f", [2])]
    assert copies("read") == [("f", [0])]
    assert sorted(copies("read", "write")) == sorted(copies("write", "read")) == [("f", [0]), ("f", [2])]


@pytest.mark.parametrize(
    ("family", "names"),
    [
        ("lock", {"flock", "fcntl"}),
        ("readdir", {"getdents", "getdents64"}),
        ("sync", {"fsync", "fdatasync", "sync_file_range", "msync", "sync", "syncfs"}),
        ("connect", {"connect"}),
        ("clock", {"clock_gettime", "gettimeofday", "time"}),
    ],
)
def test_families(family: str, names: set[str]) -> None:
    assert {call.name for call, _ in tables.expand((family,), "x86_64").values()} == names
    assert {call.name for call, _ in tables.expand((family,), "aarch64").values()} == names - {
        "getdents",
        "time",
    }


def test_no_rule_can_name_the_calls_that_hand_over_the_listener() -> None:
    assert not {"sendmsg", "recvmsg"} & tables.known_names()


def test_a_wrong_name_is_met_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="unknown system call or family 'flok'; did you mean 'flock'"):
        tables.expand(("flok",))
    with pytest.raises(ValueError, match="unknown system call or family 'zzz'; known are acce"):
        tables.expand(("zzz",))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (
            {"calls": ("read",), "action": "short"},
            "'short' is for calls of the family 'write', not for 'read'",
        ),
        (
            {"calls": ("write",), "action": "clock"},
            "'clock' is for calls of the family 'clock', not for 'write'",
        ),
        ({"calls": ("clock",), "action": "clock", "times": 3}, "takes neither skip nor times"),
    ],
)
def test_actions_that_cannot_be_meant(more: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=f"rule r: the action .*{words}|{words}"):
        make(**more)


HEADERS = {
    "x86_64": ("/usr/include/x86_64-linux-gnu/asm/unistd_64.h", "/usr/include/asm/unistd_64.h"),
    "aarch64": ("/usr/include/asm-generic/unistd.h",),
}


@pytest.mark.parametrize("machine", sorted(HEADERS))
def test_numbers_are_those_of_the_kernels_headers(machine: str) -> None:
    """The generic table is the one of aarch64, and there wherever any kernel headers are."""
    header = next((Path(path) for path in HEADERS[machine] if Path(path).exists()), None)
    if header is None:
        pytest.skip("the kernel's headers are not installed")
    text = header.read_text()
    found = {name: int(number) for name, number in re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)\b", text)}
    found |= {"newfstatat": found.get("newfstatat", found.get("fstatat", -1))}
    second_lines = {"sendfile_in": "sendfile", "copy_file_in": "copy_file_range", "splice_in": "splice"}
    named = {second_lines.get(call.name, call.name): call.number for call in tables.calls(machine)}
    assert len(named) > 60
    newer_than_header = {"fchmodat2"} - set(found)
    assert {name: number for name, number in named.items() if found.get(name) != number} == {
        name: named[name] for name in newer_than_header
    }
    others = {"seccomp": kernel._NUMBERS[machine][4], "pivot_root": kernel._NUMBERS[machine][0]}
    others |= dict(zip(("execve", "execveat"), vdso.EXEC_CALLS[machine], strict=True))
    others |= {"io_uring_setup": 425, "pidfd_getfd": 438, "getppid": probe._GETPPID[machine]}
    assert {name: found.get(name) for name in others} == others


class Program:
    """A filter program, run by an interpreter of a few lines."""

    def __init__(self, code: bytes) -> None:
        self.steps = [struct.unpack_from("HBBI", code, at) for at in range(0, len(code), 8)]

    def verdict(self, number: int, *args: int, arch: int = 0xC000003E) -> str:
        data = struct.pack("<IIQ6Q", number, arch, 0, *(*args, 0, 0, 0, 0, 0, 0)[:6])
        at, accumulator = 0, 0
        while True:
            what, yes, no, value = self.steps[at]
            if what == 0x06:
                return {0x7FC00000: "notify", 0x7FFF0000: "allow", 0x00050026: "ENOSYS"}[value]
            at += 1
            if what == 0x20:
                accumulator = struct.unpack_from("<I", data, value)[0]
            else:
                at += yes if (accumulator & value if what == 0x45 else accumulator == value) else no


def test_filter_program_sends_exactly_the_listed_calls() -> None:
    run = Program(program([257, 1, 82], "x86_64")).verdict
    assert [run(n) for n in (1, 82, 257, 0, 2, 258, 0x40000001)] == ["notify"] * 3 + ["allow"] * 4
    assert run(1, arch=0x40000003) == "allow", "32-bit calls have other numbers"
    assert run(425) == "ENOSYS", "io_uring would pass by the supervisor"


def test_of_some_calls_only_a_part_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")  # whose numbers these are
    rules = [make(calls=("lock", "clock", "open"), paths=("*",)), make(calls=("clock",), action="clock")]
    run = Program(program(wanted_by(rules), "x86_64")).verdict
    assert [run(72, 3, command) for command in (0, 1, 3, 5, 6, 7, 37, 38, 1030)] == [
        *["allow"] * 4,
        *["notify"] * 4,
        "allow",
    ]
    assert [run(73, 3, how) for how in (1, 2, 5, 6, 8, 12)] == [*["notify"] * 4, "allow", "allow"]
    assert [run(228, clock) for clock in (0, 1, 4, 5, 6, 7, 11)] == [
        "notify", "allow", "allow", "notify", "allow", "allow", "notify"
    ]  # fmt: skip
    assert run(228, 0xFFFFFFFF00000000) == "notify", "the upper half of a 32-bit argument means nothing"
    assert [run(n) for n in (96, 201, 257)] == ["notify"] * 3
    realtime, wait_bitset = 256, 9
    assert run(202, 0x1000, wait_bitset | realtime, 0, 0x2000) == "notify"
    assert run(202, 0x1000, wait_bitset | realtime, 0, 0) == "allow", "waits for ever"
    assert run(202, 0x1000, wait_bitset, 0, 0x2000) == "allow", "by the monotonic clock"
    assert [run(230, clock, 1, 0x2000) for clock in (0, 1, 11)] == ["notify", "allow", "notify"]
    assert run(230, 0, 0, 0x2000) == "allow", "a relative sleep"


def test_a_call_wanted_as_a_whole_and_in_part_is_stopped_as_a_whole() -> None:
    run = Program(program({72: [], 73: [(1, "=", [1])]}, "x86_64")).verdict
    assert (run(72, 3, 0), run(73, 3, 1), run(73, 3, 8)) == ("notify", "notify", "allow")
