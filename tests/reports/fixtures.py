"""Runs as the engine would store them: pass, data loss, wedged, unverified, invalid, skipped, hostile."""

from __future__ import annotations

import dataclasses
import json
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backupchaos.history import Event
from backupchaos.results import (
    CheckResult,
    Evidence,
    FaultResult,
    JobResult,
    RestoreResult,
    Retry,
    RunResult,
    StateChange,
    Verdict,
)
from backupchaos_reports.runs import StoredRun

MIB = 1024 * 1024


@dataclass
class Tape:
    """Collects events out of order; ``events`` sorts and numbers them."""

    marks: list[tuple[float, str, dict[str, Any]]] = field(default_factory=list)
    moved: int = 0

    def add(self, t: float, kind: str, **data: Any) -> None:
        self.marks.append((t, kind, data))

    def events(self) -> list[Event]:
        ordered = sorted(self.marks, key=lambda mark: mark[0])
        return [Event(n, round(t, 6), kind, data) for n, (t, kind, data) in enumerate(ordered)]

    def log(self, t: float, level: str, text: str, *, retry: bool = False, job: str = "fault") -> None:
        line = 1 + sum(kind == "log" for _, kind, _ in self.marks)
        self.add(t, "log", job=job, stream="stderr", level=level, text=text, retry=retry, line=line)

    def upload(self, start: float, end: float, conn: int, rate: float, rng: random.Random) -> None:
        """A connection that sends about ``rate`` bytes a second; samples carry the link's totals."""
        self.add(start, "link", link="repository", ev="open", conn=conn)
        before, t = self.moved, start
        while t < end:
            t += 0.1
            self.moved += int(rate * 0.1 * rng.uniform(0.6, 1.3))
            self.add(t, "link", link="repository", ev="bytes", conn=0, up=self.moved, down=self.moved // 40)
        up = self.moved - before
        totals = {"total_up": self.moved, "total_down": self.moved // 40}
        self.add(
            t,
            "link",
            link="repository",
            ev="close",
            conn=conn,
            up=up,
            down=up // 40,
            reason="client_fin",
            **totals,
        )


def _opening(tape: Tape, target: str) -> None:
    """Everything before the fault job, which begins at 9.2 s."""
    tape.add(0.0, "run.open", format=1, utc="2026-01-05T10:00:00.000+00:00")
    tape.add(0.0, "phase", name="prepare")
    tape.add(0.4, "manifest", which="M1", identity="9f2c44d1aa07", entries=214, bytes=16 * MIB)
    tape.add(0.6, "phase", name="control")
    tape.add(0.6, "job.start", job="control", command=[target, "backup", "/source"], pid=4101)
    tape.add(6.6, "job.end", job="control", returncode=0, outcome="success", timed_out=False)
    tape.add(
        7.9, "restore", which="control", snapshot="a41b", returncode=0, identical=214, different=0, missing=0
    )
    tape.add(8.0, "phase", name="change")
    tape.add(8.7, "manifest", which="M2", identity="77e0b3ce1f58", entries=221, bytes=17 * MIB)


def _closing(tape: Tape, end: float, proof: list[str], wrong: int = 0, recovers: bool = True) -> float:
    """Heal, recovery job, restores, verdict; returns when the run ended."""
    rng = random.Random(5)
    tape.add(end + 0.1, "phase", name="heal")
    tape.add(end + 0.4, "phase", name="recover")
    tape.add(end + 0.5, "job.start", job="recovery", command=["rclone", "sync"], pid=4203)
    tape.add(end + 0.5, "state", job="recovery", state="PENDING", source="derived")
    tape.add(end + 0.6, "state", job="recovery", state="RUNNING", source="derived")
    done = end + 4.0
    if recovers:
        tape.upload(end + 1.0, done - 0.3, 90, 1.6 * MIB, rng)
    else:
        tape.log(done - 0.5, "error", "repository is already locked by PID 4188", job="recovery")
    state, claim = ("SUCCESS", "success") if recovers else ("FAILED", "failure")
    tape.add(done, "state", job="recovery", state=state, source="derived")
    tape.add(done, "job.end", job="recovery", returncode=0 if recovers else 1, outcome=claim, timed_out=False)
    tape.add(done + 0.2, "phase", name="verify")
    tape.add(
        done + 1.4,
        "restore",
        which="newest",
        snapshot="3f2a9c01",
        returncode=0,
        identical=221 - wrong,
        different=0,
        missing=wrong,
        extra=0,
    )
    tape.add(
        done + 2.6,
        "restore",
        which="older",
        snapshot="a41b",
        returncode=0,
        identical=214,
        different=0,
        missing=0,
    )
    tape.add(done + 3.0, "command", what="check", argv=["tool", "check"], returncode=0, seconds=0.4)
    name = next((data["name"] for _, kind, data in tape.marks if kind == "fault"), "")
    tape.add(done + 3.05, "bite", name=name, proof=proof)
    tape.add(done + 3.1, "phase", name="judge")
    tape.add(done + 3.2, "verdict", verdict="fail" if wrong or not recovers else "pass")
    return done + 3.2


def network_events(seed: int = 7) -> list[Event]:
    """The link drops for 18 s in the middle of the upload; growing retries; success."""
    rng = random.Random(seed)
    tape = Tape()
    _opening(tape, "rclone")
    tape.add(9.2, "phase", name="fault")
    tape.add(9.2, "fault", name="cut", fault="network.down", status="armed", mechanism="tap", detail="at 50%")
    tape.add(9.2, "job.start", job="fault", command=["rclone", "sync", "/source", "repo:"], pid=4188)
    tape.add(9.2, "state", job="fault", state="PENDING", source="derived")
    tape.add(9.5, "state", job="fault", state="RUNNING", source="derived")
    tape.log(9.4, "info", "starting sync of 221 files")
    for n in range(14):
        tape.log(9.8 + n * 0.37, "info", f"copied dir{n // 4}/file{n:03d}.bin ({rng.randrange(90, 900)} KiB)")
    tape.upload(9.7, 15.1, 11, 2.4 * MIB, rng)
    tape.add(15.1, "fault", name="cut", fault="network.down", status="applying", mechanism="tap", detail="")
    tape.add(15.15, "fault", name="cut", fault="network.down", status="applied", mechanism="tap", detail="")
    tape.add(15.15, "link", link="repository", ev="down", conn=None)
    tape.add(
        15.16, "link", link="repository", ev="fault_hit", conn=11, by="down:refused", what="cut", first=True
    )
    tape.log(15.3, "warning", "connection to repository lost: connection reset by peer", retry=False)
    delay, t = 1.0, 15.4
    for n in range(1, 5):
        t += delay + 0.05
        tape.add(t, "retry", job="fault", n=n, source="log", cause="connection refused", delay=delay)
        tape.log(
            t, "warning", f"retry {n}/10 in {delay:g} s: dial tcp 127.0.0.1: connection refused", retry=True
        )
        tape.add(t + 0.02, "link", link="repository", ev="refused" if t < 33.2 else "open", conn=0, count=1)
        if t < 33.2:
            tape.log(t + 0.1, "error", "sync: connection refused")
        if n == 1:
            tape.add(t, "state", job="fault", state="RETRYING", source="derived")
        delay *= 2
    tape.add(33.15, "fault", name="cut", fault="network.down", status="undoing", mechanism="tap", detail="")
    tape.add(33.2, "fault", name="cut", fault="network.down", status="undone", mechanism="tap", detail="")
    tape.add(33.2, "link", link="repository", ev="up", conn=None)
    t += delay / 2 + 0.05
    tape.add(t, "retry", job="fault", n=5, source="log", cause="connection refused", delay=delay / 2)
    tape.add(t + 0.1, "state", job="fault", state="RUNNING", source="derived")
    tape.log(t + 0.1, "info", "connection to repository is back")
    tape.upload(t + 0.1, t + 3.9, 20, 2.2 * MIB, rng)
    end = t + 4.2
    tape.log(end, "info", "sync finished: 221 files, 17.0 MiB")
    tape.add(end, "state", job="fault", state="SUCCESS", source="derived")
    tape.add(end, "job.end", job="fault", returncode=0, outcome="success", timed_out=False)
    _closing(tape, end, ["1 live connections cut after 9437184 bytes sent", "4 connection attempts refused"])
    return tape.events()


def disk_events(seed: int = 7, *, wrong: int = 3, recovers: bool = True) -> list[Event]:
    """The repository's volume fills up; the job carries on."""
    rng = random.Random(seed)
    tape = Tape()
    _opening(tape, "sloppy")
    tape.add(9.2, "phase", name="fault")
    tape.add(9.2, "fault", name="fill", fault="disk.full", status="armed", mechanism="tmpfs", detail="at 40%")
    tape.add(9.2, "job.start", job="fault", command=["sloppy", "backup", "/source"], pid=4188)
    tape.add(9.2, "state", job="fault", state="PENDING", source="job")
    tape.add(9.4, "state", job="fault", state="RUNNING", source="job")
    free = 48 * MIB
    for n in range(60):
        t = 9.2 + n * 0.25
        full = 13.0 < t < 19.0
        free = max(0, free - int(rng.uniform(0.05, 0.4) * MIB)) if not full else 0
        if 19.0 <= t < 19.25:
            free = 40 * MIB
        tape.add(t, "volume", place="repository", free=free, total=64 * MIB)
    tape.add(12.95, "fault", name="fill", fault="disk.full", status="applying", mechanism="tmpfs", detail="")
    tape.add(13.0, "fault", name="fill", fault="disk.full", status="applied", mechanism="tmpfs", detail="")
    for n in range(41):
        t = 13.05 + n * 0.12
        tape.add(t, "syscall", rule="fill.0", call="write", path="/repo/data/0f3a", action="errno", ordinal=n)
    for n in range(9):
        tape.log(13.1 + n * 0.5, "info", f"packing chunk {n} of 9")
    tape.log(17.9, "warning", "slow write")
    tape.add(18.9, "fault", name="fill", fault="disk.full", status="undoing", mechanism="tmpfs", detail="")
    tape.add(19.0, "fault", name="fill", fault="disk.full", status="undone", mechanism="tmpfs", detail="")
    tape.log(20.4, "info", "snapshot 3f2a9c01 saved")
    tape.add(20.5, "state", job="fault", state="SUCCESS", source="job")
    tape.add(20.5, "job.end", job="fault", returncode=0, outcome="success", timed_out=False)
    _closing(tape, 20.5, ["ENOSPC returned 41 times"], wrong, recovers)
    return tape.events()


ENVIRONMENT = {
    "backupchaos": "0.1.0",
    "python": "3.12.8",
    "kernel": "6.12.9 x86_64",
    "file system": "tmpfs (sized), ext4 (host)",
    "link": "embedded proxy behind the tap",
    "sandbox": "user, mount, network, pid namespaces",
}
YAML = """scenario: disk_full
title: The repository's disk fills up in the middle of the job
envelope: must_fail_loudly
faults:
  fill: {disk.full: repository, when: {at: 40%}, for: 6s}
expect:
  outcome: failure
"""


def _check(id_: str, expected: str, observed: str, verdict: Verdict, **more: Any) -> CheckResult:
    title = more.pop("title", id_.replace("_", " "))
    return CheckResult(id_, title, expected, observed, verdict, **more)


def passing(seed: int = 7, target: str = "rclone", scenario: str = "network_loss") -> StoredRun:
    """The link drops; the tool retries with growing gaps and keeps its word."""
    events = network_events(seed)
    end = next(e.t for e in events if e.kind == "job.end" and e["job"] == "fault")
    retries = tuple(Retry(e.t, e["source"], e["cause"], e["delay"]) for e in events if e.kind == "retry")
    states = tuple(
        StateChange(e["state"], e.t, e["source"]) for e in events if e.kind == "state" and e["job"] == "fault"
    )
    ok = Verdict.PASS
    result = RunResult(
        run_id=f"{target}-{scenario}-{seed}",
        scenario=scenario,
        title="The link to the repository drops in the middle of the upload",
        target=target,
        target_version="1.71.0",
        repository="sftp",
        envelope="must_survive",
        seed=seed,
        verdict=ok,
        headline=f"{target} × {scenario}: PASS — the job retried 5 times with growing gaps, succeeded, and all 221 files restore.",
        explanation="The link was down for 18.0 s from half of the upload on; the job waited 1, 2, 4, 8 and 8 s.",
        outcome="success",
        states=states,
        retries=retries,
        checks=(
            _check("outcome", "success", "success, exit 0", ok, evidence=(Evidence("exit 0", (300,), end),)),
            _check("states", "PENDING RUNNING RETRYING RUNNING SUCCESS", "the same, in this order", ok),
            _check("retries", "1 to 10", "5", ok, evidence=(Evidence("retry 1", (80,), 16.45),)),
            _check("backoff", "growing gaps", "1.0, 2.0, 4.0, 8.0, 8.0 s", ok),
            _check(
                "honest",
                "restore of the newest snapshot equals the source",
                "221 of 221 identical",
                ok,
                law="honest",
            ),
            _check(
                "no_collateral", "older snapshot restores", "214 of 214 identical", ok, law="no_collateral"
            ),
        ),
        faults=(
            FaultResult(
                "cut",
                "network.down",
                "repository",
                "network",
                "the link to the repository is down",
                "the tap refuses and resets connections on 127.0.0.1",
                "at 50% of the control run's bytes",
                15.15,
                33.2,
                True,
                (
                    Evidence("connection 11 reset after 9,437,184 bytes", (90,), 15.16),
                    Evidence("4 refused", (95,), 16.5),
                ),
                True,
            ),
        ),
        restores=(
            RestoreResult(
                "control", "a41b", True, 0, 214, expected=214, aspects=("content", "mode"), duration=1.3
            ),
            RestoreResult(
                "newest", "3f2a9c01", True, 0, 221, expected=221, aspects=("content", "mode"), duration=1.2
            ),
            RestoreResult(
                "older", "a41b", True, 0, 214, expected=214, aspects=("content", "mode"), duration=1.2
            ),
        ),
        jobs=(
            JobResult("control", 0, "success", 0.6, 6.6),
            JobResult("fault", 0, "success", 9.2, end, link_bytes=20 * MIB),
            JobResult("recovery", 0, "success", end + 0.5, end + 4),
        ),
        scenario_file="scenarios/network_loss.yaml",
        scenario_yaml=YAML.replace("disk_full", scenario),
        environment=ENVIRONMENT,
        started_at="2026-01-05T10:00:00.000+00:00",
        duration=end + 8,
        reproduce=f"backupchaos run {scenario} --target {target} --repository sftp --seed {seed}",
    )
    return StoredRun(result, events, log_of(events))


def log_of(events: list[Event]) -> str:
    """The job's log as the engine would store it."""
    return (
        "\n".join(f"{e.t:8.3f} {e['level'].upper():7} {e['text']}" for e in events if e.kind == "log") + "\n"
    )


def _disk_base(seed: int, target: str, events: list[Event]) -> RunResult:
    base = passing(seed, target, "disk_full").result
    states = tuple(
        StateChange(e["state"], e.t, e["source"]) for e in events if e.kind == "state" and e["job"] == "fault"
    )
    fault = FaultResult(
        "fill",
        "disk.full",
        "repository",
        "storage",
        "the repository's disk has nothing left",
        "a sized tmpfs in the sandbox's mount namespace, filled to 0 bytes free",
        "at 40% of the control run's bytes",
        13.0,
        19.0,
        True,
        (Evidence("ENOSPC returned 41 times", tuple(range(120, 128)), 13.05),),
        True,
    )
    return dataclasses.replace(
        base,
        title="The repository's disk fills up in the middle of the job",
        target_version="0.4.2",
        repository="local",
        envelope="must_fail_loudly",
        scenario_file="scenarios/disk_full.yaml",
        states=states,
        retries=(),
        faults=(fault,),
        jobs=(JobResult("fault", 0, "success", 9.2, 20.5),),
        duration=28.0,
    )


def data_loss(seed: int = 7, target: str = "sloppy") -> StoredRun:
    """The worst result there is: claims success, restore misses files."""
    events = disk_events(seed)
    fail, ok = Verdict.FAIL, Verdict.PASS
    missing = ("missing: dir1/file031.bin", "missing: dir2/file044.bin", "missing: dir2/naïve 文件.bin")
    result = dataclasses.replace(
        _disk_base(seed, target, events),
        verdict=fail,
        severity="data_loss",
        headline="The job said success with exit 0, but its restore misses 3 of 221 files.",
        explanation="The repository's disk had 0 B free from 13.0 s to 19.0 s and ENOSPC was returned 41 times. "
        "The job logged no error, reported success at 20.5 s, and snapshot 3f2a9c01 restores without 3 files.",
        outcome="success",
        checks=(
            _check(
                "outcome",
                "failure or partial",
                "success, exit 0 at 20.5 s",
                fail,
                evidence=(Evidence("", (200,), 20.5),),
            ),
            _check(
                "loud", "an error that names the full disk", "no error record in 12 lines", fail, law="loud"
            ),
            _check(
                "honest",
                "restore of the newest snapshot equals the source",
                "3 of 221 missing",
                fail,
                law="honest",
                reason="the claim of success is not true",
                evidence=(Evidence("restore of 3f2a9c01", (260,), 26.0),),
            ),
            _check(
                "clean",
                "nothing left behind",
                "not looked at",
                Verdict.UNVERIFIED,
                reason="the scan was refused",
            ),
            _check(
                "no_collateral", "older snapshot restores", "214 of 214 identical", ok, law="no_collateral"
            ),
            _check("bounded", "within 2m", "11.3 s", ok, law="bounded"),
        ),
        restores=(
            RestoreResult(
                "control", "a41b", True, 0, 214, expected=214, aspects=("content", "mode"), duration=1.3
            ),
            RestoreResult(
                "newest",
                "3f2a9c01",
                True,
                0,
                218,
                missing=3,
                expected=221,
                differences=missing,
                aspects=("content", "mode", "mtime", "xattr"),
                manifest="77e0b3ce1f58",
                duration=1.2,
            ),
            RestoreResult(
                "older", "a41b", True, 0, 214, expected=214, aspects=("content", "mode"), duration=1.2
            ),
        ),
        waived={"recoverable": "the tool's documentation asks for a manual unlock after a full disk"},
        notes=("the volume was sampled every 250 ms",),
        reproduce=f"backupchaos run disk_full --target {target} --seed {seed}",
    )
    return StoredRun(result, events, log_of(events))


def wedged(seed: int = 7, target: str = "lockbox") -> StoredRun:
    """Fails loudly, but a stale lock stops every later job."""
    events = disk_events(seed, wrong=0, recovers=False)
    fail = Verdict.FAIL
    base = _disk_base(seed, target, events)
    result = dataclasses.replace(
        base,
        scenario="kill_mid_upload",
        title="The job is killed in the middle of the upload",
        verdict=fail,
        severity="wedged",
        headline="The next job fails although the fault is gone: the repository stays locked.",
        explanation="",
        outcome="failure",
        checks=(
            _check(
                "recoverable",
                "the next job succeeds",
                "exit 1: already locked",
                fail,
                law="recoverable",
                reason="stale lock",
            ),
            _check("outcome", "failure", "failure, exit 137", Verdict.PASS),
        ),
        restores=(RestoreResult("recovered", None, False, None, reason="job 3 made no snapshot"),),
        reproduce=f"backupchaos run kill_mid_upload --target {target} --seed {seed}",
    )
    return StoredRun(result, events, log_of(events))


def unverified(seed: int = 7, target: str = "rclone") -> StoredRun:
    """Everything seen holds, but one row could not be judged."""
    run = passing(seed, target, "network_slow")
    checks = (
        *run.result.checks[:4],
        _check(
            "log",
            "a warning that names the retry",
            "not evaluated",
            Verdict.UNVERIFIED,
            reason="the log is not UTF-8",
        ),
    )
    result = dataclasses.replace(
        run.result,
        verdict=Verdict.UNVERIFIED,
        headline="One expectation could not be evaluated.",
        checks=checks,
    )
    return StoredRun(result, run.events, run.log_head_tail)


def invalid(seed: int = 7, target: str = "lockbox") -> StoredRun:
    """The fault never bit; the run says nothing about the target."""
    run = passing(seed, target, "network_loss")
    fault = dataclasses.replace(
        run.result.faults[0], started=None, ended=None, bit=False, proof=(), undone=None
    )
    events = [
        e
        for e in run.events
        if e.kind not in {"bite", "retry"} and not (e.kind == "fault" and e["status"] != "armed")
    ]
    result = dataclasses.replace(
        run.result,
        verdict=Verdict.INVALID,
        headline="The fault never bit: the job ended before 50% of the control run's bytes had passed.",
        explanation="",
        outcome="success",
        faults=(fault,),
        retries=(),
        checks=(),
        restores=(),
    )
    return StoredRun(result, events, run.log_head_tail)


def skipped(seed: int = 7, target: str = "rclone") -> StoredRun:
    """Not run here; no history at all."""
    base = passing(seed, target, "torn_pages").result
    result = dataclasses.replace(
        base,
        title="A read of the repository returns a torn page",
        verdict=Verdict.SKIPPED,
        headline="fuse: /dev/fuse cannot be opened here",
        explanation="",
        outcome=None,
        states=(),
        retries=(),
        checks=(),
        faults=(),
        restores=(),
        jobs=(),
        duration=0.0,
    )
    return StoredRun(result, [], None)


HOSTILE = (
    "<script>document.title='born'</script><img src=x onerror=alert(1)>\"'`|${7*7}{{7*7}}]]>&lt;--> "
    "javascript:alert(1) \x00\x1b[31m\x9b\u202egnp.exe\u2028\ud800\udc80\ufffe http://evil.example/x ::error::"
)


def hostile() -> StoredRun:
    """Hostile text in every field that can hold text, of results, history and log."""
    template = data_loss()

    def poison(value: Any, key: str = "") -> Any:
        if isinstance(value, Verdict) or key in {"schema", "severity", "started_at"}:
            return value
        if isinstance(value, str):
            return HOSTILE
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return dataclasses.replace(
                value, **{f.name: poison(getattr(value, f.name), f.name) for f in dataclasses.fields(value)}
            )
        if isinstance(value, dict):
            return {HOSTILE + str(n): poison(item) for n, item in enumerate(value.values())}
        if isinstance(value, (tuple, list)):
            return type(value)(poison(item) for item in value)
        return value

    soft = {"text", "cause", "command", "detail", "mechanism", "snapshot", "identity", "call", "path", "rule"}
    soft |= {"action", "argv", "what", "source", "level", "state", "link", "place", "name", "fault"}
    events: list[Event] = []
    for event in [*network_events(), *template.events]:
        data = {key: poison(value) if key in soft else value for key, value in event.data.items()}
        events.append(Event(len(events), event.t, event.kind, data))
    for n, kind in enumerate(
        (HOSTILE, "fault", "log", "state", "volume", "link", "retry", "restore", "bite", "phase")
    ):
        odd = {"name": None, "status": 3, "t": "x", "free": "many", "up": [1], "returncode": HOSTILE}
        events.append(Event(len(events), 12.0 + n, kind, odd))
    result = poison(template.result)
    extra = tuple(Retry(14.0 + n, HOSTILE, HOSTILE, 1.0) for n in range(4))
    return StoredRun(dataclasses.replace(result, retries=extra), events, HOSTILE + "\n" + "A" * 1_000_000)


def campaign() -> list[StoredRun]:
    """What a small campaign looks like: three targets, six scenarios, every verdict."""
    return [
        passing(),
        passing(7, "sloppy"),
        passing(8, "rclone", "network_latency"),
        passing(8, "lockbox", "network_latency"),
        passing(8, "sloppy", "network_latency"),
        data_loss(),
        wedged(),
        unverified(),
        invalid(),
        skipped(),
    ]


def many(count: int) -> list[StoredRun]:
    """A large campaign: every tenth run lost data."""
    targets = ("rclone", "restic", "borg", "kopia", "sloppy")
    runs: list[StoredRun] = []
    for n in range(count):
        seed, target = 1 + n // 200, targets[n % 5]
        scenario = f"network_loss_{(n // 5) % 40:02d}"
        if n % 10 == 9:
            run = data_loss(seed, target)
            result = dataclasses.replace(run.result, scenario=scenario)
            runs.append(StoredRun(result, run.events, run.log_head_tail))
        else:
            runs.append(passing(seed * 1000 + n, target, scenario))
    return runs


def store(run: StoredRun, directory: Path) -> Path:
    """Write a run as the engine does; returns the directory."""
    directory.mkdir(parents=True)
    run.result.save(directory / "results.json")
    lines = [json.dumps({"seq": e.seq, "t": e.t, "kind": e.kind, **e.data}) for e in run.events]
    (directory / "history.jsonl").write_text("\n".join(lines) + "\n", "ascii")
    (directory / "job.log").write_bytes((run.log_head_tail or "").encode("utf-8", "surrogatepass"))
    return directory
