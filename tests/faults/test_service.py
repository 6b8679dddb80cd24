"""The server behind the link: killed and restarted."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
from tests.faults.bench import bench, python
from tests.faults.service_jobs import WHEN_READY, http, run, sftp

from backupchaos.errors import HarnessBroken, MissingCapability
from backupchaos.faults.service import Kill

pytestmark = pytest.mark.needs("namespaces")


@pytest.mark.needs("rclone")
def test_a_killed_server_is_away_and_comes_back(tmp_path: Path) -> None:
    job = http(
        "c = socket.create_connection(('{host}', int('{port}')))\n"
        "print('ready', flush=True)\n"
        "print('live:', c.recv(1), flush=True)\n"
        "print('then:', knock(), flush=True)\n"
        "print('back:', until(b'H'), flush=True)"
    )
    fault = {"service.kill": "repository", "when": WHEN_READY, "for": 0.5}
    result = run(tmp_path, fault, job, repository="rest")
    assert result.lines == ["ready", "live: b''", "then: ConnectionRefusedError", "back: b'H'"]
    died, refused, how = result.proof
    assert died == "1 live connections died with the server"
    assert refused.endswith("connection attempts found no server")
    assert "ended by SIGKILL" in how
    assert result.strays == []


@pytest.mark.needs("rclone")
def test_a_killed_server_that_nobody_missed_is_no_proof(tmp_path: Path) -> None:
    """Neither is its start, though the harness itself asks whether it is there."""
    job = http("print('ready', flush=True)\ntime.sleep(1.5)\nprint(until(b'H'))")
    fault = {"service.kill": "repository", "when": WHEN_READY, "for": 0.2}
    result = run(tmp_path, fault, job, repository="rest")
    assert result.lines == ["ready", "b'H'"]
    assert result.proof == []


@pytest.mark.needs("rclone")
def test_what_is_tried_after_the_job_is_no_proof(tmp_path: Path) -> None:
    with bench(tmp_path, {"service.kill": "repository"}, python("pass"), repository="rest") as made:
        fault = made.fault
        assert isinstance(fault, Kill)
        history = made.world.history
        assert made.world.link is not None
        history.append("job.end", at=time.monotonic() - 1, job="fault")
        fault.begin(history.now())
        fault.apply()
        with pytest.raises(ConnectionRefusedError):
            made.world.sandbox.connect(made.world.link.port)
        fault.end(history.now())
        fault.undo()
        fault.verify_undone()
        made.world.poll_links()
        assert [e for e in history.of("link") if e["ev"] == "refused"]
        assert fault.bite() == []


def test_a_link_that_another_fault_has_down_by_then_is_left_so(tmp_path: Path) -> None:
    with bench(tmp_path, {"service.kill": "repository"}, python("pass"), repository="sftp") as made:
        fault, link = made.fault, made.world.link
        assert link is not None
        fault.begin(made.world.history.now())
        fault.apply()
        assert link.state()["cause"] == fault.name
        link.up()
        link.down("refused", cause="other")
        fault.undo()
        fault.verify_undone()
        assert (link.state()["mode"], link.state()["cause"]) == ("refused", "other")
        link.up()


@pytest.mark.parametrize("number", ["KILL", "TERM"])
def test_the_signal_is_the_one_that_was_asked_for(tmp_path: Path, number: str) -> None:
    job = http("print('ready', flush=True)\nprint(until('ConnectionRefusedError'))")
    fault = {"service.kill": "repository", "signal": number, "when": WHEN_READY}
    with bench(tmp_path, fault, (), target=job, repository="sftp") as made:
        first = made.world.service_pid
        result = made.go()
        assert result.lines == ["ready", "ConnectionRefusedError"]
        assert f"ended by SIG{number}" in result.proof[-1]
        assert first is not None
        assert made.world.exits[first][0] == -getattr(signal, f"SIG{number}")
        assert made.world.service_pid not in made.world.exits
        (down,) = [e for e in result.events if e.kind == "link" and e["ev"] == "down"]
        # Frozen when its clients are cut, a killed server cannot tidy up behind them; one that is asked can.
        died_at = made.world.exits[first][1] - made.world.history.t0
        assert (down.t < died_at) is (number == "KILL")


def test_a_restarted_server_has_its_old_port_keys_and_data(tmp_path: Path) -> None:
    fault = {"service.restart": "repository", "when": WHEN_READY}
    job = sftp(
        "async def main():\n"
        " async with connect() as c, c.start_sftp_client() as s:\n"
        "  async with s.open('/kept', 'wb') as f: await f.write(b'kept')\n"
        "  key = c.get_server_host_key().get_fingerprint()\n"
        "  print('ready', flush=True)\n"
        "  await c.wait_closed()\n"
        " for n in range(200):\n"
        "  try:\n"
        "   async with connect() as c, c.start_sftp_client() as s:\n"
        "    print(await s.exists('/kept'), key == c.get_server_host_key().get_fingerprint())\n"
        "    return\n"
        "  except (OSError, asyncssh.Error): await asyncio.sleep(0.05)\n"
        "asyncio.run(main())"
    )
    with bench(tmp_path, fault, (), repository="sftp", target=job) as made:
        first = made.world.service_pid
        result = made.go()
        assert result.lines == ["ready", "True True"]
        assert made.world.service_pid != first
    assert result.proof[0].endswith(" live connections died with the server")
    assert "ended by SIGTERM" in result.proof[-1]
    (applied,) = [e for e in result.events if e.kind == "fault" and e["status"] == "applied"]
    assert applied["detail"].startswith("stopped by SIGTERM and started again, away for ")


def test_a_server_that_does_not_come_back_breaks_the_run_but_not_the_link(tmp_path: Path) -> None:
    fault = {"service.kill": "repository", "when": WHEN_READY, "for": 0.2}
    job = http("print('ready', flush=True)\nuntil('ConnectionRefusedError')")
    with bench(tmp_path, fault, (), target=job, repository="sftp") as made:

        def never() -> int:
            raise HarnessBroken("no port left")

        made.world.revive = never
        with pytest.raises(HarnessBroken, match="could not be undone: no port left"):
            made.go()
        assert made.world.link is not None
        made.world.sandbox.connect(made.world.link.port).close()


@pytest.mark.needs("rclone")
@pytest.mark.parametrize("kind", ["service.kill", "service.restart"])
def test_a_server_that_forgets_is_no_fair_judge(tmp_path: Path, kind: str) -> None:
    fault = {kind: "repository", "when": WHEN_READY}
    with (
        pytest.raises(
            MissingCapability, match=r"durable server.*metadata.*use repository: sftp, webdav or rest"
        ),
        bench(tmp_path, fault, python("pass"), repository="s3"),
    ):
        pass
