"""A sandbox of containers: what it is made of, what it keeps in, and that it vanishes."""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.docker.daemon import Daemon, Environment

from backupchaos.commands import Command
from backupchaos.environments.base import Place, Role
from backupchaos.environments.docker import names
from backupchaos.environments.docker.member import PYTHON
from backupchaos.environments.docker.sandbox import DockerSandbox
from backupchaos.errors import MissingCapability

pytestmark = pytest.mark.needs("docker")
MIB = 2**20
_SYS_ADMIN = 1 << 21


@pytest.fixture
def box(containers: Environment) -> Iterator[DockerSandbox]:
    with containers.sandbox({Place.REPOSITORY: MIB}) as made:
        yield made


def run(box: DockerSandbox, code: str, role: Role = "target") -> tuple[int, str]:
    """A few lines of Python in a container: exit code and output."""
    return run_command(box, Command(("python3", "-c", code)), role)


def run_command(
    box: DockerSandbox, command: Command, role: Role = "target", **options: Any
) -> tuple[int, str]:
    """A program in a container: exit code and output."""
    read, write = os.pipe()
    pid = box.spawn(command, role=role, stdout=write, stderr=write, **options)
    os.close(write)
    with open(read, encoding="utf-8", errors="replace") as pipe:
        output = pipe.read()
    end = time.monotonic() + 10
    while time.monotonic() < end:
        for event in box.events():
            if event.kind == "exit" and event.data["pid"] == pid:
                return event.data["returncode"], output.strip()
    raise AssertionError("it never ended")


def test_it_is_made_and_vanishes(containers: Environment, daemon: Daemon) -> None:
    with containers.sandbox({}) as box:
        for role in ("target", "service", "link"):
            assert run(box, "print('here')", role) == (0, "here")
        kinds = sorted(entry.split()[0] for entry in daemon.left() if " " in entry)
        assert kinds == ["container"] * 4 + ["network"] + ["volume"] * len(Place)
        assert len(daemon.left()) == len(kinds) + 1, "and one folder"
    assert daemon.left() == []


def test_no_engine_takes_the_images_own_program_for_an_answer(box: DockerSandbox, daemon: Daemon) -> None:
    """Podman starts it where the entry point is only empty."""
    (keeper,) = daemon.containers()
    assert keeper.attrs["Config"]["Entrypoint"] == [PYTHON[0]]
    assert keeper.attrs["Config"]["Cmd"][: len(PYTHON) - 1] == list(PYTHON[1:])


def test_a_sandbox_that_fails_to_start_leaves_nothing(
    containers: Environment, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise OSError("no")

    monkeypatch.setattr("backupchaos.environments.docker.member._accept", fails)
    with pytest.raises(OSError, match="no"):
        containers.sandbox({})
    assert daemon.left() == []


def test_everything_bears_our_labels(box: DockerSandbox, daemon: Daemon) -> None:
    box.member("service")
    run_of = {c.labels[names.RUN] for c in daemon.containers()}
    assert len(run_of) == 1
    assert {c.labels[names.OWNER] for c in daemon.containers()} == {names.owner()}
    token = run_of.pop()
    assert all(token in c.name for c in daemon.containers())


def test_no_container_is_privileged_and_no_job_may_mount(box: DockerSandbox, daemon: Daemon) -> None:
    for role in ("target", "service", "link"):
        code = (
            "print([l.split()[1] for l in open('/proc/self/status') if l.startswith(('CapEff', 'CapBnd'))])"
        )
        returned, words = run(box, code, role)
        assert returned == 0, words
        assert all(not int(mask, 16) & _SYS_ADMIN for mask in eval(words)), words
    for container in daemon.containers():
        host = container.attrs["HostConfig"]
        assert host["Privileged"] is False
        assert host["PidMode"] == host["UTSMode"] == "" and host["IpcMode"] != "host"
        assert not host["Devices"] and "seccomp=unconfined" not in (host["SecurityOpt"] or ())
        assert not any("docker.sock" in bind for bind in host["Binds"])


def test_there_is_no_way_out_not_even_to_this_machine(box: DockerSandbox, daemon: Daemon) -> None:
    token = daemon.containers()[0].labels[names.RUN]
    network = daemon.client.networks.list(filters={"label": f"{names.RUN}={token}"})[0]
    network.reload()
    assert network.attrs["Internal"] is True
    gateways = [entry["Gateway"] for entry in network.attrs["IPAM"]["Config"]]
    with socket.create_server(("0.0.0.0", 0)) as server:
        port = server.getsockname()[1]
        bridge = daemon.client.networks.list(names=["bridge"])[0]
        gateways += [entry["Gateway"] for entry in bridge.attrs["IPAM"]["Config"] if "Gateway" in entry]
        tries = [(gateway, port) for gateway in gateways] + [("192.0.2.1", 80)]
        code = f"""
import socket
for address in {tries!r}:
    with socket.socket() as sock:
        sock.settimeout(1)
        print(address, sock.connect_ex(address))
"""
        returned, words = run(box, code)
    assert returned == 0
    codes = [int(line.rsplit(" ", 1)[1]) for line in words.splitlines()]
    assert len(codes) == len(tries)
    assert set(codes) <= {errno.EAGAIN, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ETIMEDOUT}, words


def test_volumes_have_the_size_that_was_asked_for(box: DockerSandbox) -> None:
    code = f"""
written = 0
try:
    with open({box.path(Place.REPOSITORY)!r} + '/fill', 'wb', buffering=0) as file:
        while written < {4 * MIB}: written += file.write(bytes(65536))
except OSError as error: print(error.errno)
print(written)
"""
    assert run(box, code) == (0, f"{errno.ENOSPC}\n{MIB}")


def test_of_the_image_nothing_can_be_changed(box: DockerSandbox) -> None:
    code = """
import errno
for path in ('/usr/x', '/etc/x', '/backupchaos/x', '/tmp/x', '/run/x'):
    try: open(path, 'w').close(); print(path, 'made')
    except OSError as error: print(path, errno.errorcode[error.errno])
"""
    told = dict(line.split() for line in run(box, code)[1].splitlines())
    assert told == {
        **dict.fromkeys(("/usr/x", "/etc/x", "/backupchaos/x"), "EROFS"),
        **dict.fromkeys(("/tmp/x", "/run/x"), "made"),
    }


def test_a_restore_sees_neither_source_nor_cache(box: DockerSandbox) -> None:
    for place in (Place.SOURCE, Place.CACHE, Place.REPOSITORY):
        box.call("write_file", path=f"{box.path(place)}/seen", base64="eA==", mode=0o644)
    paths = [f"{box.path(place)}/seen" for place in (Place.SOURCE, Place.CACHE, Place.REPOSITORY)]
    code = f"import os; print([os.path.exists(path) for path in {paths!r}])"
    assert run(box, code)[1] == "[True, True, True]"
    box.conceal((Place.SOURCE, Place.CACHE), True)
    assert run(box, code)[1] == "[False, False, True]"
    box.conceal((Place.SOURCE, Place.CACHE), False)
    assert run(box, code)[1] == "[True, True, True]"


def test_a_container_that_comes_late_finds_the_volume_as_it_is(box: DockerSandbox) -> None:
    box.freeze(Place.REPOSITORY, True)
    code = f"open({box.path(Place.REPOSITORY)!r} + '/x', 'w')"
    assert "Read-only file system" in run(box, code, "service")[1]
    box.freeze(Place.REPOSITORY, False)
    assert run(box, code, "service") == (0, "")
    assert not box.volume(Place.REPOSITORY).read_only


def test_a_program_of_this_machine_is_found_in_the_image_whatever_the_jobs_own_path(
    box: DockerSandbox,
) -> None:
    here = "/only/on/this/machine/cat"
    env = {"PATH": "/nothing/here", "HOME": "/"}
    words = ("/proc/self/cmdline",)
    told = run_command(box, Command((here, *words), env), only_env=True)
    program, *rest = told[1].split("\0")
    assert told[0] == 0 and program.endswith("/cat") and rest == [*words, ""], told
    assert program != here
    shell = Command(("/bin/sh", "-c", 'exec "$@"', "sh", here, *words), env)
    assert run_command(box, shell, only_env=True) == told


def test_in_the_image_of_ours_nothing_has_to_be_compiled_by_every_job(box: DockerSandbox) -> None:
    code = """
import importlib.util, os
from backupchaos.environments.docker.names import PACKAGES
for name in ('asyncssh', 'backupchaos_reference'):
    print(os.path.exists(importlib.util.cache_from_source(f'{PACKAGES}/{name}/__init__.py')))
"""
    assert run(box, code) == (0, "True\nTrue")


def test_directories_of_the_machine_are_not_given_away(containers: Environment) -> None:
    with pytest.raises(MissingCapability, match="not given to containers"):
        containers.sandbox({}, writable=["/srv"])


def test_an_image_that_is_not_here_is_named_with_what_to_do(box: DockerSandbox) -> None:
    box.use_image_for("target", "example.org/nobody/has:this")
    with pytest.raises(MissingCapability, match="backup-pull=missing"):
        box.member("target")


def test_what_a_dead_harness_left_goes_with_the_next_start(containers: Environment, daemon: Daemon) -> None:
    host, boot, pid, started = names.owner().split("/")
    dead = {names.LABEL: "x", names.RUN: "dead", names.OWNER: f"{host}/{boot}/{pid}/{int(started) + 1}"}
    alive = {**dead, names.RUN: "alive", names.OWNER: names.owner()}
    daemon.client.volumes.create("backupchaos-test-dead", labels=dead)
    living = daemon.client.volumes.create("backupchaos-test-alive", labels=alive)
    try:
        containers.sandbox({}).close()
        left = {volume.name for volume in daemon.client.volumes.list(filters={"label": names.RUN})}
        assert "backupchaos-test-dead" not in left
        assert "backupchaos-test-alive" in left, "what lives is left alone"
    finally:
        living.remove()
