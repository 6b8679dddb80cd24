"""OpenSSH: who may come in, and as whom it runs."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.ordinary import PATH, python_of_nobody
from tests.survivors import wait_until
from tests.targets.serving import listens, served

from backupchaos.errors import MissingCapability
from backupchaos.services import openssh
from backupchaos.services.openssh import OpensshService
from backupchaos.services.sftp_files import CLIENT_KEY, PASSWORD
from backupchaos.targets.base import Location
from backupchaos.targets.bench import free_port

__all__ = ["python_of_nobody"]


@pytest.mark.slow
@pytest.mark.needs("sshd")
def test_openssh_lets_the_key_of_the_run_in_and_nobody_else(tmp_path: Path) -> None:
    import asyncssh

    stranger = asyncssh.generate_private_key("ssh-ed25519")

    async def visit(location: Location, **how: Any) -> list[str]:
        options = {"client_keys": None, "known_hosts": None, "agent_path": None, "config": None, **how}
        address = {"username": location.user, "port": location.port}
        async with asyncssh.connect(location.host, **address, **options) as there:
            async with there.start_sftp_client() as files:
                seen = sorted(str(name) for name in await files.listdir(os.path.dirname(location.path)))
            shell = await there.run("id", check=False)
            return [*seen, str(shell.stderr), str(shell.stdout)]

    with served("sftp", "openssh", tmp_path) as (_, location):
        key = asyncssh.import_public_key(location.host_key)
        *seen, _, said = asyncio.run(
            visit(location, client_keys=[location.key_file], known_hosts=([key], [], []))
        )
        assert seen == [".", ".."]
        assert said.startswith("This service allows sftp connections only")
        for wrong in ({"client_keys": [stranger]}, {"password": "guess"}, {}):
            with pytest.raises(asyncssh.PermissionDenied):
                asyncio.run(visit(location, **wrong))
    names = {path.name for path in (tmp_path / "service").iterdir()}
    assert CLIENT_KEY in names
    assert PASSWORD not in names


VISIT = """
import sys
from pathlib import Path
from tests.faults.bench import Probe, bench
from backupchaos.commands import Command
from backupchaos.services.servers import Servers
class Visitor(Probe):
    def backup(self, work):
        at = work.location
        options = [f"-oUserKnownHostsFile={work.state}/known_hosts", "-oStrictHostKeyChecking=yes", "-i", at.key_file]
        argv = ("sftp", "-q", "-F", "/dev/null", *options, "-P", str(at.port), "-b", "-", f"{at.user}@{at.host}")
        words = f"mkdir {at.path}\\nput /etc/hosts {at.path}/stored\\nls -1 {at.path}\\n"
        return Command(argv, stdin=words.encode())
fault = {"network.down": "repository", "when": {"log": "never"}}
with bench(Path(sys.argv[1]), fault, (), target=Visitor(()), repository="sftp", servers=Servers({"sftp": "openssh"})) as b:
    print(b.world.sandbox.mechanism, b.world.workspace.location.user, b.go().lines[-1])
"""


@pytest.mark.slow
@pytest.mark.needs("sshd", "ssh", "namespaces", "ordinary-user")
def test_openssh_serves_in_the_sandbox_of_an_ordinary_user(python_of_nobody: tuple[Path, str]) -> None:
    top, python = python_of_nobody
    who = openssh.account()
    folder = top / "tmp" / "run"
    folder.mkdir()
    os.chown(folder, who.pw_uid, who.pw_gid)
    become = (
        "setpriv",
        f"--reuid={who.pw_uid}",
        f"--regid={who.pw_gid}",
        "--clear-groups",
        "--inh-caps=-all",
    )
    argv = [*become, python, "-c", VISIT, str(folder)]
    env = {"PATH": PATH, "TMPDIR": str(folder), "HOME": who.pw_dir}
    done = subprocess.run(argv, env=env, cwd="/", capture_output=True, text=True, timeout=60, check=False)
    assert re.fullmatch(rf"user namespaces {who.pw_name} \S*/stored\n", done.stdout), (
        done.stdout + done.stderr
    )


@pytest.mark.slow
@pytest.mark.needs("sshd", "root")
def test_openssh_in_its_image_is_root(tmp_path: Path) -> None:
    """With a ``/run/sshd``, as the image has it, it changes users and roots as it does on any server."""
    import asyncssh

    service, port = OpensshService(), free_port()
    for path, content, mode in service.files(str(tmp_path)):
        Path(path).write_bytes(content)
        os.chmod(path, mode)
    command = service.command_in_image(str(tmp_path), str(tmp_path), port, "127.0.0.1")
    as_in_image = f"mount -t tmpfs none /run && mkdir /run/sshd && exec {shlex.join(command.argv)}"

    async def names(location: Location) -> list[str]:
        address = {"username": location.user, "port": location.port, "known_hosts": None}
        quiet = {"client_keys": [location.key_file], "agent_path": None, "config": None}
        async with (
            asyncssh.connect(location.host, **address, **quiet) as there,
            there.start_sftp_client() as sftp,
        ):
            return [str(name) for name in await sftp.listdir(str(tmp_path))]

    argv = ("unshare", "--mount", "sh", "-c", as_in_image)
    with subprocess.Popen(argv, stderr=subprocess.DEVNULL) as process:
        try:
            assert wait_until(lambda: listens(port), 10)
            location = service.location(port)
            assert location.user == "root"
            assert CLIENT_KEY in asyncio.run(names(location))
        finally:
            process.kill()


@pytest.mark.parametrize("knows", [True, False], ids=["since 9.8", "older"])
def test_openssh_shuts_nobody_out_for_trouble(knows: bool, tmp_path: Path) -> None:
    """All clients have the link's address: one that a fault has troubled would shut out the next."""
    program = tmp_path / "sshd"
    refuses = "" if knows else 'case "$*" in *PerSourcePenalties*) exit 255;; esac\n'
    program.write_text(f'#!/bin/sh\n{refuses}[ "$1" = -t ] || echo "$@"\n')
    program.chmod(0o755)
    argv = ["/bin/sh", "-c", openssh._START, "sh", str(program), "-f", "x y", "-o", "Z=1"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False)
    more = " -o PerSourcePenalties=no" if knows else ""
    assert (done.stdout, done.stderr) == (f"-D -e -f x y -o Z=1{more}\n", "")


@pytest.mark.needs("sshd")
def test_root_without_user_namespaces_has_no_openssh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(openssh, "_becoming", lambda user, group: "cannot run: Operation not permitted")
    with pytest.raises(MissingCapability, match=r"not permitted.*use the server asyncssh"):
        OpensshService().available()


def test_whoever_cannot_become_an_ordinary_user_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    from backupchaos.services import becoming

    assert becoming.main(["0", "0", "/no/such/program"]) == 1
    assert "cannot run /no/such/program as user 0" in capfd.readouterr().err
