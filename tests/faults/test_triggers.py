"""Every kind of trigger, at the start and at the end of a fault, on real jobs: at which byte, call or word."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from tests.faults.bench import Tried, bench, python, tried
from tests.faults.echo import DIAL, echo_service

from backupchaos.environments.base import Place
from backupchaos.faults.network import Latency
from backupchaos.faults.storage import Full
from backupchaos.history import Event

pytestmark = pytest.mark.needs("namespaces", "seccomp")
__all__ = ["echo_service"]

BLOCK = 4096
WRITES = 64
WRITE = f"""
import os, time
print('ready', flush=True)
for number in range({WRITES}):
    if number == 20: print('uploading', flush=True)
    with open('{{repository}}/f%d' % number, 'wb', buffering=0) as file: file.write(bytes({BLOCK}))
"""
HARMLESS = {"disk.full": "repository", "headroom": 8 * 2**20}
"""The volume shrinks, and yet has room for all that these jobs write."""
Places = dict[str, list[int]]


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch) -> Places:
    """How much the job had written when the fault came, and when it went."""
    seen: Places = {"apply": [], "undo": []}

    def watch(word: str) -> None:
        whole = getattr(Full, word)

        def watched(self: Full) -> Any:
            seen[word].append(self.ground.sandbox.usage(Place.REPOSITORY).used)
            return whole(self)

        monkeypatch.setattr(Full, word, watched)

    watch("apply")
    watch("undo")
    return seen


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Places:
    """How much the link had let pass when the fault came, and when it went."""
    seen: Places = {"apply": [], "undo": []}

    def watch(word: str) -> None:
        whole = getattr(Latency, word)

        def watched(self: Latency) -> Any:
            assert self.ground.link is not None
            seen[word].append(self.ground.link.state()["up"])
            done = whole(self)
            go = f"{self.ground.sandbox.path(Place.TEMP)}/{word}"
            self.ground.sandbox.call("write_file", path=go, text="")
            return done

        monkeypatch.setattr(Latency, word, watched)

    watch("apply")
    watch("undo")
    return seen


def order(result: Tried) -> Iterator[str]:
    """What happened to the fault and what the job said and was, in the history's order."""
    for event in result.events:
        if event.kind == "fault":
            yield event["status"]
        elif event.kind == "log" and event["job"] == "fault":
            yield event["text"]
        elif event.kind in {"job.start", "job.end"} or (event.kind == "state" and event["job"] == "fault"):
            yield event.get("state", event.kind)


CALL = {"name": "write", "place": "repository"}
STARTS = [({"bytes": 10 * BLOCK}, 10), ({"at": 0.5}, 16), ({"call": {**CALL, "nth": 11}}, 10)]
ENDS = [({"bytes": 30 * BLOCK}, 30), ({"at": 1.0}, 32), ({"call": {**CALL, "nth": 31}}, 30)]
NEW: dict[str, Any] = {
    "source": {"files": 4, "size": 64 * 1024, "new": 32 * BLOCK, "change": 0.0, "names": "portable"}
}
"""So that all the job's new data, 100 %, is 32 of its writes."""


@pytest.mark.parametrize("start", STARTS, ids=lambda pair: f"when {next(iter(pair[0]))}")
@pytest.mark.parametrize("end", ENDS, ids=lambda pair: f"until {next(iter(pair[0]))}")
def test_on_a_disk_each_comes_and_goes_at_its_write(
    tmp_path: Path, stored: Places, start: tuple[Any, int], end: tuple[Any, int]
) -> None:
    (when, first), (until, last) = start, end
    tried(tmp_path, {**HARMLESS, "when": when, "until": until}, python(WRITE), **NEW)
    assert stored == {"apply": [first * BLOCK], "undo": [last * BLOCK]}


@pytest.mark.parametrize("when", ["start", {"log": "ready"}, {"state": "RUNNING"}], ids=str)
def test_an_end_is_exact_whatever_the_start_was(tmp_path: Path, stored: Places, when: Any) -> None:
    tried(tmp_path, {**HARMLESS, "when": when, "until": {"bytes": 60 * BLOCK}}, python(WRITE))
    assert stored["undo"] == [60 * BLOCK]


def test_several_places_in_one_job_are_all_exact(tmp_path: Path, stored: Places) -> None:
    faults = {
        "slow": {"disk.slow": "repository", "delay": 0.002, "when": {"bytes": 5 * BLOCK}},
        "fault": {**HARMLESS, "when": {"bytes": 15 * BLOCK}, "until": {"bytes": 50 * BLOCK}},
        "sync": {"disk.lost_fsync": "repository", "when": {"call": {**CALL, "nth": 20}}},
    }
    with bench(tmp_path, {}, python(WRITE), faults=faults) as made:
        result = made.go()
    assert stored == {"apply": [15 * BLOCK], "undo": [50 * BLOCK]}
    (call,) = [e for e in result.events if e.kind == "syscall" and e["rule"] == "trigger.sync.when"]
    assert call["ordinal"] == 20


def test_many_small_files_are_counted_by_what_is_in_them(tmp_path: Path, stored: Places) -> None:
    """Each takes a whole block of the volume, so that it grows forty times as fast as the job writes."""
    code = WRITE.replace(f"range({WRITES})", "range(400)").replace(f"bytes({BLOCK})", "bytes(100)")
    tried(tmp_path, {**HARMLESS, "when": {"bytes": 30_000}}, python(code))
    assert stored["apply"] == [300 * BLOCK]


def test_what_is_written_without_a_call_is_seen_by_the_growth(tmp_path: Path, stored: Places) -> None:
    code = (
        "import mmap, time\nfile = open('{repository}/f', 'w+b')\nfile.truncate(1 << 20)\n"
        "memory = mmap.mmap(file.fileno(), 1 << 20)\nmemory[:] = bytes([1]) * (1 << 20)\n"
        "while not input_seen(): time.sleep(0.01)\n"
    ).replace("while not input_seen(): time.sleep(0.01)", "time.sleep(1)")
    result = tried(tmp_path, {**HARMLESS, "when": {"bytes": 500_000}}, python(code))
    (seen,) = stored["apply"]
    assert 500_000 <= seen <= 1 << 20  # nobody stops the job meanwhile
    assert result.returncode == 0


# -- over the link -----------------------------------------------------------------------------------------

SEND = DIAL + "sock = dial()\nsay('ready')\nfor number in range(64): echo(sock, bytes(5000))\n"
WAIT = "while not os.path.exists('{temp}/apply'): time.sleep(0.005)\n"
"""What a job says takes a while to be read; whether it has come to some byte by then is not the question here."""
SLOWER = {"network.latency": "repository", "delay": 0.001}


@pytest.mark.parametrize("when", ["start", {"log": "ready"}, {"bytes": 12_345}, {"at": 0.25}], ids=str)
@pytest.mark.parametrize("until", [{"bytes": 200_001}, {"at": 1.0}], ids=str)
def test_over_a_link_each_comes_and_goes_at_its_byte(
    tmp_path: Path, sent: Places, when: Any, until: dict[str, Any]
) -> None:
    fault = {**SLOWER, "when": when, "until": until}
    code = SEND.replace("for number", f"{WAIT}for number") if "log" in when else SEND
    with bench(tmp_path, fault, python(code), repository="rest", **NEW) as made:
        made.go()
        new = made.phases.new_bytes
    share = when == {"at": 0.25}
    if share or "bytes" in when:
        assert sent["apply"] == [new // 4 if share else 12_345]
    assert sent["undo"] == [200_001 if "bytes" in until else new]


def test_two_faults_of_a_link_are_both_exact(tmp_path: Path, sent: Places) -> None:
    faults = {
        "cut": {"network.slice": "repository", "when": {"bytes": 30_000}, "until": {"bytes": 60_000}},
        "fault": {**SLOWER, "when": {"bytes": 50_001}, "until": {"bytes": 150_001}},
    }
    with bench(tmp_path, {}, python(SEND), repository="rest", faults=faults) as made:
        made.go()
    assert sent == {"apply": [50_001], "undo": [150_001]}


def test_places_that_follow_closely_on_a_link_are_all_exact(tmp_path: Path, sent: Places) -> None:
    """The next place is known to the link before the job goes on from the last one."""
    due = [10_001 + 1_003 * n for n in range(20)]
    faults = {
        f"late{at}" if n else "fault": {**SLOWER, "when": {"bytes": at}, "until": {"bytes": at + 501}}
        for n, at in enumerate(due)
    }
    code = DIAL + "sock = dial()\nsock.sendall(bytes(200_000)); read(sock, 200_000)\n"
    with bench(tmp_path, {}, python(code), repository="rest", faults=faults) as made:
        made.go()
    assert sent == {"apply": due, "undo": [at + 501 for at in due]}


# -- words, states, attempts, time -------------------------------------------------------------------------

DISK_FULL = {"disk.full": "repository", "headroom": 0, "when": {"log": "ready"}}
FROM_HERE = """
import os, time
def wait(full):
    while (os.statvfs('{repository}').f_bavail == 0) is not full: time.sleep(0.01)
def store(patience):
    end = time.monotonic() + patience
    while time.monotonic() < end:
        try:
            with open('{repository}/f', 'wb', buffering=0) as file: file.write(bytes(65536))
            return print('stored', flush=True)
        except OSError: time.sleep(0.05)
def say(word): print(word, flush=True)
"""


def test_a_line_that_comes_while_the_fault_is_being_applied_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long that takes: the job is heard meanwhile, and what it says is not forgotten."""
    whole = Full.apply

    def apply(self: Full) -> str:
        done = whole(self)
        means: Any = self.ground.means
        means.loop.pump_until(lambda: "enough" in [e["text"] for e in self.ground.history.of("log")], 5)
        return done

    monkeypatch.setattr(Full, "apply", apply)
    code = FROM_HERE + "say('ready'); wait(True); say('enough'); store(10)"
    result = tried(tmp_path, {**DISK_FULL, "until": {"log": "enough"}}, python(code))
    assert "stored" in result.lines
    seen = list(order(result))
    assert seen.index("enough") < seen.index("applied") < seen.index("undone") < seen.index("job.end")


def test_a_line_right_behind_the_one_that_starts_it_ends_it(tmp_path: Path) -> None:
    code = FROM_HERE + "print('ready\\nenough', flush=True); time.sleep(0.5); store(10)"
    result = tried(tmp_path, {**DISK_FULL, "until": {"log": "enough"}}, python(code))
    assert "stored" in result.lines
    assert [s for s in order(result) if s in {"applied", "undone"}] == ["applied", "undone"]


@pytest.mark.parametrize("before", ["say('enough'); say('ready')", "print('enough\\nready', flush=True)"])
def test_a_line_of_before_does_not_end_it(tmp_path: Path, before: str) -> None:
    code = FROM_HERE + before + "; wait(True); store(1)"
    result = tried(tmp_path, {**DISK_FULL, "until": {"log": "enough"}}, python(code))
    assert "stored" not in result.lines


@pytest.mark.parametrize("until", [{"log": "uploading"}, {"after": 0.4}], ids=str)
def test_it_ends_at_a_word_or_at_a_time(tmp_path: Path, until: dict[str, Any]) -> None:
    code = WRITE.replace("as file:", "as file: time.sleep(0.02);")
    result = tried(tmp_path, {**HARMLESS, "when": {"after": 0.1}, "until": until}, python(code))
    seen = list(order(result))
    assert seen.index("ready") < seen.index("applied") < seen.index("undone") < seen.index("job.end")
    if "log" in until:
        assert seen.index("uploading") < seen.index("undoing")


CALL_AGAIN = """
say('ready')
def call():
    try:
        sock = dial(5)
        return echo(sock, bytes(2000)) == bytes(2000)
    except OSError: return False
call()
while not call(): time.sleep(0.25)
say('through')
"""


@pytest.mark.parametrize("until", [{"state": "RETRYING"}, {"attempt": 3}], ids=str)
def test_it_ends_when_the_job_tries_again(tmp_path: Path, until: dict[str, Any]) -> None:
    code = DIAL + CALL_AGAIN
    fault = {"network.down": "repository", "when": {"bytes": 1000}, "until": until}
    result = tried(tmp_path, fault, python(code), repository="rest")
    assert "through" in result.lines
    assert result.proof
    seen = list(order(result))
    assert seen.index("RETRYING") < seen.index("undoing") < seen.index("through")


@pytest.mark.parametrize("when", [{"state": "RETRYING"}, {"attempt": 2}], ids=str)
def test_it_starts_when_the_job_tries_again(tmp_path: Path, when: dict[str, Any]) -> None:
    faults = {
        "cut": {"network.reset": "repository", "when": {"bytes": 1000}},
        "fault": {**SLOWER, "when": when},
    }
    with bench(tmp_path, {}, python(DIAL + CALL_AGAIN), repository="rest", faults=faults) as made:
        result = made.go()
    (retry,) = [e for e in result.events if e.kind == "state" and e["state"] == "RETRYING"]
    (applied,) = [e for e in result.events if _of(e, "fault", "applied")]
    (end,) = [e for e in result.events if e.kind == "job.end"]
    assert retry.seq < applied.seq < end.seq


def _of(event: Event, name: str, status: str) -> bool:
    return event.kind == "fault" and event["name"] == name and event["status"] == status


# -- how often, how long -----------------------------------------------------------------------------------

SAYS = """
import time
for number in range(5):
    print('uploading', flush=True)
    time.sleep(0.3)
    print('uploaded', flush=True)
    time.sleep(0.2)
"""


@pytest.mark.parametrize("end", [{"for": 0.1}, {"until": {"log": "uploaded"}}], ids=str)
def test_it_comes_each_time_the_job_says_the_word(tmp_path: Path, end: Mapping[str, Any]) -> None:
    fault = {**HARMLESS, "when": {"log": "uploading"}, "times": 3, **end}
    result = tried(tmp_path, fault, python(SAYS))
    seen = [word for word in order(result) if word in {"applied", "undone", "uploading", "uploaded"}]
    if "until" in end:
        again = ["uploading", "applied", "uploaded", "undone"]
    else:
        again = ["uploading", "applied", "undone", "uploaded"]
    assert seen == again * 3 + ["uploading", "uploaded"] * 2


def test_it_comes_so_often_and_in_time(tmp_path: Path) -> None:
    wait = "import time\ntime.sleep(1.5)"
    fault = {**HARMLESS, "when": {"after": 0.2}, "for": 0.1, "every": 0.3}
    result = tried(tmp_path, fault, python(wait))
    starts = [start for start, _ in result.fault.windows]
    assert len(starts) >= 4, "without 'times' it comes until the job has ended"
    assert all(later - earlier >= 0.29 for earlier, later in pairwise(starts))


@pytest.mark.parametrize("end", [{}, {"for": 0.2}], ids=["persistent", "transient"])
def test_it_lasts_until_the_job_has_ended_or_as_long_as_it_says(tmp_path: Path, end: dict[str, Any]) -> None:
    code = FROM_HERE + "say('ready'); wait(True); store(2)"
    result = tried(tmp_path, {**DISK_FULL, **end}, python(code))
    assert ("stored" in result.lines) is bool(end)
    seen = list(order(result))
    assert (seen.index("undone") < seen.index("job.end")) is bool(end)
