"""What no run made is touched only if the scenario and the user both name it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from backupchaos.engine import guard
from backupchaos.engine.options import RunOptions
from backupchaos.engine.run import run_scenario
from backupchaos.errors import HarnessBroken, MissingCapability, UsageProblem
from backupchaos.model.loader import ScenarioErrors, load_scenario_text
from backupchaos.model.scenario import Scenario
from backupchaos.session.runner import Order, Session
from backupchaos.session.settings import Settings

HEAD = "scenario: s\ntitle: T\n"


def scenario(allow: str) -> Scenario:
    return load_scenario_text(f"{HEAD}allow: {allow}\n", "s.chaos.yaml")


@pytest.mark.parametrize("path", ["/srv/backup-test", "/home/me/tests", "/data", "/tmp/x", "/var/cache/a b"])
def test_a_folder_of_its_own_may_be_named(path: str) -> None:
    allow = scenario(f"{{paths: ['{path}']}}").allow
    assert allow is not None
    assert allow.entries() == (path,)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/", "as a whole"),
        ("/home", "as a whole"),
        ("/home/me", "as a whole"),
        ("/srv", "as a whole"),
        ("/tmp", "as a whole"),
        ("/etc", "belongs to the system"),
        ("/usr/local/share/x", "belongs to the system"),
        ("/proc/1/root/srv/x", "belongs to the system"),
        ("/dev/shm", "belongs to the system"),
        ("/var/lib/postgresql", "belongs to the system"),
        ("/backupchaos/state", "belongs to the system"),
        ("srv/x", "absolute"),
        ("~/x", "absolute"),
        ("/srv/x\\u202e", "absolute"),
        ("/srv/../etc", "Write '/etc'"),
        ("/srv//x", "Write '/srv/x'"),
        ("//etc/x", "Write '/etc/x'"),
        ("/srv/x/", "Write '/srv/x'"),
        ("/srv/./x", "Write '/srv/x'"),
    ],
)
def test_what_is_never_allowed(path: str, words: str) -> None:
    with pytest.raises(ScenarioErrors) as caught:
        scenario(f'{{paths: ["{path}"]}}')
    (problem,) = caught.value.problems
    assert (problem.line, problem.code) == (3, "bad-path")
    assert words in f"{problem.message} {problem.hint}"


@pytest.mark.parametrize("host", ["10.0.0.5:22", "[fd00::5]:443", "nas.local:2049", "b:65535"])
def test_hosts(host: str) -> None:
    assert scenario(f"{{hosts: ['{host}']}}").allow is not None


@pytest.mark.parametrize(
    "host",
    ["10.0.0.5", "nas:0", "nas:65536", "nas:x", "localhost:1", "127.0.0.1:22", "[::1]:1", "a b:1", ":1"],
)
def test_bad_hosts(host: str) -> None:
    with pytest.raises(ScenarioErrors) as caught:
        scenario(f"{{hosts: ['{host}']}}")
    assert [problem.code for problem in caught.value.problems] == ["bad-host"]


def test_an_allowance_of_nothing_is_a_mistake() -> None:
    with pytest.raises(ScenarioErrors, match="allows nothing"):
        scenario("{}")


def test_the_user_must_repeat_every_entry() -> None:
    wanted = scenario("{paths: [/srv/a, '/srv/b c'], hosts: ['nas:22']}")
    with pytest.raises(UsageProblem) as caught:
        guard.check(wanted, {"/srv/a"}, "--backup-allow")
    text = str(caught.value)
    assert "'--backup-allow=/srv/b c' --backup-allow=nas:22" in text
    assert "--backup-allow=/srv/a" not in text
    guard.check(wanted, {"/srv/a", "/srv/b c", "nas:22"}, "--backup-allow")
    guard.check(load_scenario_text(HEAD, "s"), (), "--backup-allow")


@pytest.mark.parametrize("near", ["/srv/a/", "/srv", "/srv/a/b", "/SRV/A"])
def test_what_is_near_is_not_the_same(near: str) -> None:
    with pytest.raises(UsageProblem):
        guard.check(scenario("{paths: [/srv/a]}"), {near}, "--allow")


class NoTarget:
    """Every use of it is a failure: the refusal comes before anything happens."""

    name = "none"

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} was asked for")


def test_a_session_refuses_before_anything_is_made(tmp_path: Path) -> None:
    target: Any = NoTarget()
    session = Session(Settings(tmp_path / "runs", 1, allow_option="--backup-allow"))
    with pytest.raises(UsageProblem, match="--backup-allow=/srv/a"):
        session.run(Order(scenario("{paths: [/srv/a]}"), target))
    assert not (tmp_path / "runs").exists()


def test_the_engine_refuses_by_itself_too(tmp_path: Path) -> None:
    target: Any = NoTarget()
    options = RunOptions(environment=target, results=tmp_path / "runs")
    with pytest.raises(UsageProblem, match="allow=/srv/a"):
        run_scenario(scenario("{paths: [/srv/a]}"), target, options)
    assert not (tmp_path / "runs").exists()


def test_allowed_folders_are_looked_at_as_they_really_are(tmp_path: Path) -> None:
    real = tmp_path.resolve() / "real"
    link, results = tmp_path.resolve() / "link", tmp_path / "results"
    wanted = scenario(f"{{paths: [{real}]}}")
    with pytest.raises(UsageProblem, match="is not a directory"):
        guard.writable(wanted, results)
    real.mkdir()
    assert guard.writable(wanted, results) == (str(real),)
    link.symlink_to("/etc")
    with pytest.raises(UsageProblem, match="symbolic link to /etc"):
        guard.writable(scenario(f"{{paths: [{link}]}}"), results)
    (real / "in").symlink_to("/etc")
    with pytest.raises(UsageProblem, match="symbolic link to /etc"):
        guard.writable(scenario(f"{{paths: [{real / 'in'}]}}"), results)
    with pytest.raises(UsageProblem, match="must not destroy"):
        guard.writable(wanted, real / "runs")


def test_home_and_the_running_program_are_out_of_reach(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = tmp_path.resolve() / "top"
    (top / "me").mkdir(parents=True)
    wanted = scenario(f"{{paths: [{top}]}}")
    monkeypatch.setenv("HOME", str(top / "me"))
    with pytest.raises(UsageProblem, match="must not destroy"):
        guard.writable(wanted, tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    guard.writable(wanted, tmp_path)
    monkeypatch.setattr(sys, "prefix", str(top / "venv"))
    with pytest.raises(UsageProblem, match="must not destroy"):
        guard.writable(wanted, tmp_path)


class Box:
    capabilities: frozenset[str] = frozenset()

    def processes(self) -> list[Any]:
        return []


def test_hosts_need_a_way_out() -> None:
    box: Any = Box()
    wanted = scenario("{hosts: ['nas:22']}")
    guard.check_hosts(wanted, box)
    box.capabilities = frozenset({"network"})
    with pytest.raises(MissingCapability, match="without a way out"):
        guard.check_hosts(wanted, box)
    guard.check_hosts(scenario("{paths: [/srv/a]}"), box)


def test_a_link_never_leads_to_a_strangers_server() -> None:
    import socket

    box: Any = Box()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(HarnessBroken, match="not of this sandbox"):
            guard.check_port(box, port)

        class Me:
            pid = os.getpid()

        box.processes = lambda: [Me()]
        guard.check_port(box, port)


def test_words_of_the_option() -> None:
    assert guard.check_words(["/srv/a", "nas:22"], "--allow") == {"/srv/a", "nas:22"}
    for word in ("/etc", "nas", "./x", "/"):
        with pytest.raises(UsageProblem, match="--allow: "):
            guard.check_words([word], "--allow")
