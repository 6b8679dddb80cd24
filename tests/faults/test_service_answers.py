"""Servers that fail, throttle, take their time or refuse the job's credentials."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.faults.bench import Probe, bench, python
from tests.faults.service_jobs import SLEEP, WHEN_READY, http, run, sftp

from backupchaos.environments.base import Place
from backupchaos.errors import HarnessBroken, MissingCapability
from backupchaos.faults.service_answers import CredentialsExpire, Errors, Throttle, Told
from backupchaos.history import History
from backupchaos.services import registry
from backupchaos.services.asyncssh_sftp import AsyncsshService
from backupchaos.services.rclone_serve import RcloneService

pytestmark = pytest.mark.needs("namespaces")

ANSWERS: list[tuple[Mapping[str, Any], list[str], str]] = [
    (
        {"service.errors": "repository", "share": 1.0, "status": 502},
        ["[502, 502, 502]"],
        "3 of 3 requests answered by 502; 2 were tried again, the first after ",
    ),
    (
        {"service.throttle": "repository", "status": 429, "retry_after": 7},
        ["[429, 429, 429]"],
        "3 of 3 requests answered by 429; 2 were tried again, the first after ",
    ),
    (
        {"service.slow": "repository", "delay": 0.5},
        ["[404, 404, 404]"],
        "3 answers held back for 500 ms each",
    ),
    (
        {"service.credentials_expire": "repository"},
        ["[401, 401, 401]"],
        "3 of 3 requests refused; 2 were tried again, the first after ",
    ),
]


@pytest.mark.needs("rclone")
@pytest.mark.parametrize(("fault", "lines", "proof"), ANSWERS, ids=[next(iter(a[0])) for a in ANSWERS])
def test_what_the_gate_answers_is_the_proof(
    tmp_path: Path, fault: Mapping[str, Any], lines: list[str], proof: str
) -> None:
    result = run(tmp_path, fault, http("print([ask() for _ in range(3)])"), repository="rest")
    assert result.lines == lines
    assert result.proof[0].startswith(proof)
    assert (
        "GET /repository/config" in str(result.proof[1:]) or "credentials" in proof or len(result.proof) == 1
    )
    assert result.strays == []
    told = [e for e in result.events if e.kind == "request" and e["ev"] == "struck"]
    assert [e["target"] for e in told] == ["/repository/config"] * 3
    assert "gate in front of rclone serve restic" in result.fault.mechanism


@pytest.mark.needs("rclone")
@pytest.mark.parametrize("fault", [a[0] for a in ANSWERS], ids=[next(iter(a[0])) for a in ANSWERS])
def test_who_asks_for_nothing_meets_nothing(tmp_path: Path, fault: Mapping[str, Any]) -> None:
    # A connection alone is no request.
    result = run(
        tmp_path,
        fault,
        http("socket.create_connection(('{host}', int('{port}'))).close()"),
        repository="rest",
    )
    assert result.returncode == 0
    assert result.proof == []


@pytest.mark.needs("rclone")
@pytest.mark.parametrize("fault", [a[0] for a in ANSWERS], ids=[next(iter(a[0])) for a in ANSWERS])
def test_afterwards_the_server_answers_by_itself(tmp_path: Path, fault: Mapping[str, Any]) -> None:
    job = http(
        "met = 0\nend = time.monotonic() + 15\n"
        "while time.monotonic() < end:\n"
        " start = time.monotonic(); seen = ask(); wrong = seen != 404 or time.monotonic() - start > 0.3\n"
        " if met and not wrong: break\n"
        " met += wrong\n"
        "print(met > 0, [ask() for _ in range(3)])"
    )
    timed = {**fault, "when": {"after": 0.0}, "for": 0.8}
    with bench(tmp_path, timed, (), target=job, repository="rest") as made:
        result = made.go()
        assert result.lines == ["True [404, 404, 404]"]
        control = made.world.control
        assert control is not None
        assert control.status()["active"] == {}
    assert result.strays == []


@pytest.mark.needs("rclone")
def test_a_share_hits_some_and_the_same_seed_the_same(tmp_path: Path) -> None:
    fault = {"service.errors": "repository", "share": 0.3}
    code = "print([n for n in range(30) if ask(path='/repository/data/%d' % n) == 500])"
    lines = []
    for seed in (7, 7, 8):
        result = run(tmp_path, fault, http(code), repository="rest", seed=seed)
        lines.append(result.lines[0])
        assert 1 <= len(result.lines[0].split(",")) < 25
    assert lines[0] == lines[1] != lines[2]


@pytest.mark.needs("rclone")
def test_no_gate_stands_where_none_is_needed(tmp_path: Path) -> None:
    with bench(tmp_path, {"network.down": "repository"}, python("pass"), repository="rest") as made:
        assert made.world.control is None
        assert not any("services.gate" in process.command for process in made.world.sandbox.processes())


@pytest.mark.needs("rclone")
def test_a_gate_that_dies_breaks_the_run(tmp_path: Path) -> None:
    with bench(tmp_path, {"service.errors": "repository"}, SLEEP, repository="rest") as made:
        (gate,) = [p for p in made.world.sandbox.processes() if "services.gate" in p.command]
        made.world.sandbox.signal(gate.pid, signal.SIGKILL)
        with pytest.raises(HarnessBroken, match="gate in front of rclone serve restic ended by itself"):
            made.go()


@pytest.mark.needs("rclone")
def test_a_mistake_of_the_gate_is_not_the_servers(tmp_path: Path) -> None:
    with bench(tmp_path, {"service.errors": "repository"}, SLEEP, repository="rest") as made:
        control = made.world.control
        assert control is not None
        control._take({"ev": "broken", "error": "KeyError: 'x'"})
        with pytest.raises(HarnessBroken, match=r"gate .* failed by itself: KeyError: 'x'"):
            control.poll()


def test_what_struck_outside_of_the_fault_is_told(tmp_path: Path) -> None:
    with bench(tmp_path, {"service.errors": "repository"}, python("pass"), repository="sftp") as made:
        fault = made.fault
        assert isinstance(fault, Errors)
        fault.apply()
        fault.undo()
        begin, end = fault._spans[0]
        assert end is not None
        for decided in (begin - 1, begin, end, end + 1):
            made.world.history.append(
                "request", ev="struck", fault="fault", method="open", target=str(decided), decided=decided
            )
        assert len(fault.strays()) == 2
        assert f"open {end + 1}" in fault.strays()[1]


# -- SFTP -----------------------------------------------------------------------------------------


def test_sftp_requests_fail_with_the_servers_word(tmp_path: Path) -> None:
    job = sftp(
        "async def main():\n"
        " async with connect() as c, c.start_sftp_client() as s:\n"
        "  for n in range(20):\n"
        "   try: await s.stat('/')\n"
        "   except asyncssh.SFTPFailure as e: print(n, e.reason)\n"
        "asyncio.run(main())"
    )
    fault = {"service.errors": "repository", "share": 0.4}
    with bench(tmp_path, fault, (), repository="sftp", target=job) as made:
        result = made.go()
    assert 1 <= len(result.lines) < 20
    assert all(line.endswith(" internal server error") for line in result.lines)
    assert result.proof[0].startswith(f"{len(result.lines)} of 2")
    assert "requests answered by SSH_FX_FAILURE" in result.proof[0]
    assert result.strays == []


def test_sftp_credentials_expire_and_come_back(tmp_path: Path) -> None:
    job = sftp(
        "async def main():\n"
        " async with connect() as c:\n"
        "  print('ready', flush=True)\n"
        "  await c.wait_closed()\n"
        " try: await connect()\n"
        " except asyncssh.PermissionDenied: print('denied', flush=True)\n"
        " for n in range(100):\n"
        "  try:\n"
        "   async with connect(): print('back'); return\n"
        "  except asyncssh.PermissionDenied: await asyncio.sleep(0.05)\n"
        "asyncio.run(main())"
    )
    fault = {"service.credentials_expire": "repository", "when": WHEN_READY, "until": {"log": "denied"}}
    with bench(tmp_path, fault, (), repository="sftp", target=job) as made:
        result = made.go()
    assert result.lines == ["ready", "denied", "back"]
    cut, refused = result.proof
    assert cut == "1 live sessions ended by the server"
    assert "logins refused" in refused


def test_sftp_is_slow(tmp_path: Path) -> None:
    job = sftp(
        "import time\n"
        "async def main():\n"
        " async with connect() as c, c.start_sftp_client() as s:\n"
        "  start = time.monotonic()\n"
        "  for n in range(5): await s.stat('/')\n"
        "  print(time.monotonic() - start >= 0.5)\n"
        "asyncio.run(main())"
    )
    fault = {"service.slow": "repository", "delay": 0.1}
    with bench(tmp_path, fault, (), repository="sftp", target=job) as made:
        result = made.go()
    assert result.lines == ["True"]
    assert result.proof[0].endswith("answers held back for 100 ms each")


def test_an_order_outlives_the_server_that_obeyed_it(tmp_path: Path) -> None:
    """Killed and started again, it still fails; and a lift while it is away holds for the next one."""
    with bench(tmp_path, {"service.errors": "repository"}, python("pass"), repository="sftp") as made:
        world, control = made.world, made.world.control
        assert control is not None
        assert world.service_pid is not None
        control.impose("x", "errors", share=1.0)
        control.impose("y", "slow", delay=0.1)
        world.sandbox.signal(world.service_pid, signal.SIGKILL, tree=True)
        assert world.wait(world.service_pid, 5) == -signal.SIGKILL
        assert "seen" not in control.lift("y")
        world.restart_service()
        assert set(control.status()["active"]) == {"x"}


def test_sftp_cannot_be_throttled(tmp_path: Path) -> None:
    with (
        pytest.raises(MissingCapability, match=r"http repository: service\.throttle: asyncssh serves SFTP"),
        bench(tmp_path, {"service.throttle": "repository"}, python("pass"), repository="sftp"),
    ):
        pass


@pytest.mark.needs("rclone")
def test_a_server_that_cannot_be_told_is_told_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(registry._DEFAULT, "sftp", "rclone")
    with (
        pytest.raises(MissingCapability, match=r"obedient server: service\.errors: .* cannot be told"),
        bench(tmp_path, {"service.errors": "repository"}, python("pass"), repository="sftp"),
    ):
        pass


def test_orders_come_from_the_harness_alone(tmp_path: Path) -> None:
    """The job sees neither descriptor, and no port listens but the server's and the link's."""
    job = python("import os\nprint(sorted(map(int, os.listdir('/proc/self/fd')))[:4])")
    with bench(tmp_path, {"service.errors": "repository"}, job, repository="sftp") as made:
        assert made.world.link is not None and made.world.links is not None
        ports = {entry["port"] for entry in made.world.sandbox.call("network_stats")["listeners"]}
        assert made.world.link.port in ports
        taken = 3  # the server's, the link's, and its API's
        if made.world.links.server_used.startswith("toxiproxy"):
            taken += 2  # that program's API, and its own end of the link
        assert len(ports) == taken
        assert made.go().lines == ["[0, 1, 2, 3]"]  # 3 is the directory that is listed


# -- words ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "status", "text", "names"),
    [
        (Errors, 500, "server response unexpected: 500 Internal Server Error (500)", True),
        (Errors, 500, "InternalError: We encountered an internal error. status code: 500, request id", True),
        (Errors, 503, "unexpected status code 503", True),
        (Errors, 500, "copied 500 files in 5.00 s", False),
        (Errors, 500, "failed: full backup of 500 blobs", False),
        (Throttle, 503, "SlowDown: Please reduce your request rate.", True),
        (Throttle, 429, "HTTP error 429 (Too Many Requests) returned", True),
        (Throttle, 503, "slow progress: 503 files", False),
    ],
)
def test_what_names_the_cause(kind: type[Told[Any]], status: int, text: str, names: bool) -> None:
    fault: Any = kind.__new__(kind)
    fault.spec = type("Spec", (), {"status": status})()
    fault._control = type("Control", (), {"can": {"throttle"}})()
    assert bool(re.search(fault.cause_pattern(), text, re.IGNORECASE)) is names


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("ssh: handshake failed: ssh: unable to authenticate, attempted methods [none password]", True),
        ("client.PutObject: The AWS Access Key Id you provided does not exist in our records.", True),
        ("server response unexpected: 401 Unauthorized (401)", True),
        ("sftp://h refuses the login of backup: Permission denied", True),
        ("403 files copied, 401 to go", False),
        ("the job failed", False),
    ],
)
def test_what_names_expired_credentials(text: str, names: bool) -> None:
    assert bool(re.search(CredentialsExpire.cause, text, re.IGNORECASE)) is names


def test_services_say_what_they_can() -> None:
    assert AsyncsshService().can == {"errors", "slow", "credentials"}
    assert RcloneService("s3").forgets
    assert not RcloneService("rest").forgets


# -- real tools -----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.needs("rclone")
def test_rclone_uploads_through_the_gate_whatever_fails(tmp_path: Path) -> None:
    from backupchaos_targets.rclone import RcloneTarget

    class Mirror(RcloneTarget, Probe):
        """rclone's own commands on the bench."""

        def __init__(self) -> None:
            RcloneTarget.__init__(self)

    fault = {"service.errors": "repository", "share": 0.2}
    target: Any = Mirror()
    with bench(tmp_path, fault, (), repository="s3", target=target, deadline=60.0) as made:
        result = made.go()
        assert result.returncode == 0
        assert "requests answered by 500" in result.proof[0]
        stored = made.world.sandbox.call("list_files", root=made.world.path(Place.REPOSITORY))["entries"]
        names = {os.path.basename(entry[0]) for entry in stored}
        assert {os.path.basename(path) for path, _ in made.ground.fresh} <= names


def test_a_strike_counts_by_when_it_was_decided_not_by_when_it_was_told() -> None:
    history = History()
    fault: Any = Errors.__new__(Errors)
    fault.name, fault.ground = "bad", type("Ground", (), {"history": history})()

    def strike(decided: float) -> None:
        history.append("request", ev="struck", fault="bad", what="errors", decided=history.t0 + decided)

    strike(history.now())
    before_the_end = history.now()
    ended = history.append("job.end", job="fault").t
    strike(before_the_end)  # the job was answered, and ended before the server had told of it
    strike(ended + 1.0)  # what is tried out after the job
    assert [event.seq for event in fault.strikes()] == [1, 3]
