"""Faults of the name: what the C library, Go and Python see of them, and the name server itself."""

from __future__ import annotations

import re
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest
from tests.faults.bench import Tried, bench, python, tried
from tests.faults.echo import DIAL, NOTHING, echo_service
from tests.links.hostbox import HostBox, links_on

import backupchaos
from backupchaos.environments.base import Place
from backupchaos.environments.local.environment import LocalEnvironment
from backupchaos.errors import HarnessBroken, MissingCapability, UsageProblem
from backupchaos.links.links import Links
from backupchaos.links.names import NAME, give_names

pytestmark = pytest.mark.needs("namespaces", "seccomp")
__all__ = ["echo_service"]


def probed(tmp_path: Path, fault: Mapping[str, Any], argv: tuple[str, ...], **more: Any) -> Tried:
    result = tried(tmp_path, fault, argv, repository="rest", **more)
    assert result.strays == []
    return result


RESOLVE = """
say('{host}')
try: socket.getaddrinfo('{host}', 80)
except socket.gaierror as error: say(error)
"""


@pytest.mark.parametrize(
    ("mode", "words", "answer"),
    [
        ("unknown", "Name or service not known", "answered NXDOMAIN"),
        ("failing", "Temporary failure in name resolution", "answered SERVFAIL"),
        ("silent", "Temporary failure in name resolution", "left without an answer"),
    ],
)
def test_the_c_library_and_python(tmp_path: Path, mode: str, words: str, answer: str) -> None:
    fault = {"dns.failure": "repository", "mode": mode}
    # The resolver's own patience is 10 s; the option is the job's, as a user would set it.
    result = probed(tmp_path, fault, python(DIAL + RESOLVE), env={"RES_OPTIONS": "timeout:1 attempts:1"})
    assert result.lines[0] == NAME
    assert words in result.lines[1]
    (fact,) = result.proof
    assert fact.endswith(answer)
    assert re.search(result.fault.cause_pattern(), result.lines[1], re.IGNORECASE)


@pytest.mark.needs("rclone")
@pytest.mark.parametrize(("mode", "words"), [("unknown", "no such host"), ("failing", "server misbehaving")])
def test_gos_own_resolver(tmp_path: Path, mode: str, words: str) -> None:
    from backupchaos.services.rclone_serve import find_rclone

    argv = (find_rclone(), "lsf", ":http:", "--http-url", "http://{host}:{port}/", "--low-level-retries", "1")
    fault = {"dns.failure": "repository", "mode": mode}
    result = probed(tmp_path, fault, (*argv, "--retries", "1"))
    assert any(words in line for line in result.lines)
    assert result.proof


@pytest.mark.needs("restic")
def test_a_real_tool_says_what_it_met(tmp_path: Path) -> None:
    argv = ("restic", "-r", "rest:http://{host}:{port}/", "--no-cache", "snapshots")
    fault = {"dns.failure": "repository", "mode": "unknown"}
    result = probed(tmp_path, fault, argv, env={"RESTIC_PASSWORD": "x"})
    assert result.returncode
    assert any(re.search(result.fault.cause_pattern(), line, re.IGNORECASE) for line in result.lines)
    assert result.proof


TRY_AGAIN = """
while True:
    try: sock = dial(); break
    except socket.gaierror: say('failed'); time.sleep(0.02)
say(echo(sock, b'x'))
"""


def test_it_passes_and_the_name_leads_to_the_link(tmp_path: Path) -> None:
    fault = {"dns.failure": "repository", "until": {"log": "failed"}}
    result = probed(tmp_path, fault, python(DIAL + TRY_AGAIN))
    assert result.lines[0] == "failed"
    assert result.lines[-1] == "b'x'"
    assert any(e["ev"] == "close" and e["up"] == 1 for e in result.events if e.kind == "link")


def test_answers_come_late(tmp_path: Path) -> None:
    code = "start = time.monotonic(); dial(); say(time.monotonic() - start >= 0.4)"
    result = probed(tmp_path, {"dns.slow": "repository", "delay": 0.4}, python(DIAL + code))
    assert result.lines == ["True"]
    (fact,) = result.proof
    assert fact.endswith("answers held back for 400ms")


@pytest.mark.parametrize("fault", [{"dns.failure": "repository"}, {"dns.slow": "repository"}])
def test_it_does_not_bite_a_job_that_never_asks(tmp_path: Path, fault: dict[str, str]) -> None:
    code = (
        DIAL
        + NOTHING
        + "\nsocket.getaddrinfo('localhost', 80)\nsocket.create_connection(('127.0.0.1', {port}))"
    )
    result = probed(tmp_path, fault, python(code))
    assert (result.returncode, result.proof) == (0, [])
    assert [e["status"] for e in result.events if e.kind == "fault"][-1] == "undone"


def test_other_faults_leave_the_address_as_it_is(tmp_path: Path) -> None:
    with bench(tmp_path, {"network.down": "repository"}, python(NOTHING), repository="rest") as made:
        assert made.world.workspace.location.host == "127.0.0.1"


@pytest.mark.parametrize(
    "fault",
    [
        {"dns.failure": "repository", "mode": "unknown"},
        {"dns.failure": "repository", "mode": "failing"},
        {"dns.failure": "repository", "mode": "silent"},
        {"dns.slow": "repository"},
    ],
)
def test_what_is_in_force_is_looked_at(tmp_path: Path, fault: dict[str, str]) -> None:
    with bench(tmp_path, fault, python(NOTHING), repository="rest") as made:
        it, link = made.fault, made.world.link
        assert link is not None
        it.begin(made.world.history.now())
        it.apply()
        it.verify()
        link.answer_names("")
        with pytest.raises(HarnessBroken, match="the name server answers NOERROR"):
            it.verify()
        link.answer_names("failing", cause="another")
        with pytest.raises(HarnessBroken, match="still answers SERVFAIL"):
            it.verify_undone()
        made.world.poll_links()
        assert it.bite() == [], "the harness's own questions are no bite"


def test_a_wrong_answer_outside_of_its_window_is_a_stray(tmp_path: Path) -> None:
    with bench(tmp_path, {"dns.failure": "repository"}, python(DIAL + RESOLVE), repository="rest") as made:
        assert made.go().strays == []
        assert made.world.link is not None
        made.world.link.answer_names("failing", cause="fault")
        made.run(*made.phases.target.backup(made.world.workspace).argv)
        made.world.poll_links()
        assert made.fault.strays()


def test_a_shared_network_is_left_alone() -> None:
    before = {path: Path(path).read_bytes() for path in ("/etc/hosts", "/etc/resolv.conf")}
    with LocalEnvironment("plain").sandbox({Place.STATE: 1 << 20}) as sandbox:
        with pytest.raises(MissingCapability, match="no loopback of its own"):
            give_names(sandbox, cast(Links, None), ["repository"])
        with pytest.raises(HarnessBroken, match="must be left alone"):
            sandbox.call("use_own_names")
    assert {path: Path(path).read_bytes() for path in before} == before


def test_an_ordinary_users_sandbox_has_names_too(tmp_path: Path) -> None:
    result = probed(
        tmp_path,
        {"dns.failure": "repository"},
        python(DIAL + RESOLVE),
        environment=LocalEnvironment("userns"),
    )
    assert result.proof


def test_a_host_whose_files_are_links_to_nowhere(tmp_path: Path) -> None:
    """As with systemd-resolved, whose file lies below /run: there is another /run in the sandbox."""
    code = (
        "import os, sys; sys.path.insert(0, sys.argv[1])\n"
        "from backupchaos.environments.operations import naming\n"
        "folder = sys.argv[2]\n"
        "os.symlink(folder + '/deep/away', folder + '/link')\n"
        "assert naming._place(folder + '/none') is None\n"
        "place = naming._place(folder + '/link')\n"
        "assert place == os.path.realpath(folder) + '/deep/away' and os.path.isfile(place), place\n"
    )
    root = str(Path(backupchaos.__file__).parents[1])
    subprocess.run([sys.executable, "-c", code, root, str(tmp_path)], check=True)


# -- the name server ------------------------------------------------------------------------------


def question(name: str, kind: int, *, flags: int = 0x0100, count: int = 1) -> bytes:
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split(".") if part)
    return struct.pack(">HHHHHH", 0x1234, flags, count, 0, 0, 0) + labels + struct.pack(">BHH", 0, kind, 1)


def test_the_server_answers_what_it_should_and_survives_what_it_should_not() -> None:
    box = HostBox()
    links = links_on(box)
    try:
        with pytest.raises(UsageProblem, match="no name is served"):
            links.process.request("answer", mode="")
        port = links.process.request("name", host="Repo.Test.", port=0)["port"]
        with pytest.raises(UsageProblem, match="unknown mode 'odd': one of unknown, failing, silent, slow"):
            links.process.request("answer", mode="odd")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.connect(("127.0.0.1", port))
            sock.settimeout(10)

            def ask(packet: bytes) -> bytes:
                sock.send(packet)
                return sock.recv(512)

            answer = ask(question("rEPo.tesT", 1))
            assert answer[:2] == b"\x12\x34"
            assert struct.unpack(">HHH", answer[2:8]) == (0x8580, 1, 1)
            assert answer[-4:] == bytes([127, 0, 0, 1])
            assert ask(question("bucket.repo.test", 1))[-4:] == bytes([127, 0, 0, 1])
            assert struct.unpack(">HHH", ask(question("repo.test", 28))[2:8]) == (0x8580, 1, 0)
            assert struct.unpack(">HHH", ask(question("example.org", 1))[2:8]) == (0x8583, 1, 0)
            for garbage in (
                b"",
                b"x" * 11,
                question("repo.test", 1)[:-3],
                question("repo.test", 1, flags=0x8100),
                question("repo.test", 1, count=2),
                struct.pack(">HHHHHH", 1, 0x0100, 1, 0, 0, 0) + b"\x3f" + b"a" * 20,
                struct.pack(">HHHHHH", 1, 0x0100, 1, 0, 0, 0) + b"\xc0\x0c" * 20,
            ):
                sock.send(garbage)
            links.process.request("answer", mode="slow", delay=0.2, cause="late")
            start = time.monotonic()
            assert ask(question("repo.test", 1))[-4:] == bytes([127, 0, 0, 1])
            assert time.monotonic() - start >= 0.2
            assert ask(question("example.org", 1))[3] & 15 == 3, (
                "other names are none of the fault's business"
            )
        links.process.request("ping")
        told = [
            (e.data["name"], e.data["type"], e.data["answer"], e.data.get("cause")) for e in links.events()
        ]
        assert told == [
            ("repo.test", "A", "127.0.0.1", None),
            ("bucket.repo.test", "A", "127.0.0.1", None),
            ("repo.test", "AAAA", "empty", None),
            ("example.org", "A", "NXDOMAIN", None),
            ("repo.test", "A", "127.0.0.1", "late"),
            ("example.org", "A", "NXDOMAIN", None),
        ]
    finally:
        links.close()
        box.close()
