"""Our own SFTP server, spoken to over 127.0.0.1 by asyncssh's client."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import asyncssh
import pytest

from backupchaos.services import sftpd
from backupchaos.services.sftp_files import Credentials


class Served:
    """A server in this process, its directory, and its credentials."""

    def __init__(self, tmp_path: Path) -> None:
        self.root, self.state = tmp_path / "served", tmp_path / "state"
        self.root.mkdir()
        self.state.mkdir()
        self.credentials = Credentials()
        for path, content, mode in self.credentials.files(str(self.state)):
            Path(path).write_bytes(content)
            os.chmod(path, mode)

    async def connect(self, port: int, **options: Any) -> asyncssh.SSHClientConnection:
        """A connection of the right user, or of whoever ``options`` say."""
        arguments = {
            "username": "backup",
            "password": self.credentials.password,
            "client_keys": None,
            **options,
        }
        known: Any = [asyncssh.import_public_key(self.credentials.host_key)], [], []
        return await asyncssh.connect(
            "127.0.0.1", port, config=None, known_hosts=known, agent_path=None, **arguments
        )

    def talk(self, use: Callable[[asyncssh.SFTPClient], Awaitable[Any]], **options: Any) -> Any:
        """Serve, connect, and run ``use`` with a client."""

        async def main() -> Any:
            server = await sftpd.serve(str(self.root), str(self.state), 0, self.credentials.password)
            try:
                connection = await self.connect(server.get_port(), **options)
                async with connection, connection.start_sftp_client() as client:
                    return await use(client)
            finally:
                server.close()
                await server.wait_closed()

        return asyncio.run(main())


@pytest.fixture
def served(tmp_path: Path) -> Served:
    return Served(tmp_path)


def test_clients_see_the_directory_as_root(served: Served) -> None:
    (served.root / "a").write_bytes(b"x")

    async def use(client: asyncssh.SFTPClient) -> Any:
        assert await client.realpath(".") == "/"
        assert await client.realpath("/../..") == "/"
        return sorted(name for name in await client.listdir("/") if not name.startswith("."))

    assert served.talk(use) == ["a"]


def test_what_backup_tools_need(served: Served) -> None:
    async def use(client: asyncssh.SFTPClient) -> Any:
        for name, data in (("/old", b"old"), ("/new", b"n" * 100_000)):
            async with client.open(name, "wb") as file:
                await file.write(data)
                await file.fsync()
        await client.posix_rename("/new", "/old")
        await client.link("/old", "/hard")
        await client.utime("/old", (1_700_000_000, 1_700_000_001))
        return (await client.statvfs("/")).bsize

    assert served.talk(use) > 0
    assert (served.root / "old").read_bytes() == b"n" * 100_000
    assert (served.root / "hard").stat().st_nlink == 2
    assert int((served.root / "old").stat().st_mtime) == 1_700_000_001


@pytest.mark.parametrize("target", ["../outside", "/etc/passwd", "plain", "odd \n name"])
def test_link_texts_come_back_as_they_were_sent(served: Served, target: str) -> None:
    async def use(client: asyncssh.SFTPClient) -> Any:
        await client.symlink(target, "/link")
        return await client.readlink("/link")

    assert served.talk(use) == target
    assert os.readlink(served.root / "link") == target


def test_links_do_not_lead_out(served: Served, tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "file").write_bytes(b"secret")
    os.symlink("../secret", served.root / "folder")
    os.symlink("../secret/file", served.root / "file")

    async def use(client: asyncssh.SFTPClient) -> Any:
        for attempt in (client.open("/folder/file"), client.open("/file"), client.mkdir("/folder/new")):
            with pytest.raises(asyncssh.SFTPPermissionDenied, match="leads out"):
                await attempt

    served.talk(use)
    assert not (tmp_path / "secret" / "new").exists()


def connection_of(client: asyncssh.SFTPClient) -> asyncssh.SSHClientConnection:
    writer = client._handler._writer
    assert writer is not None
    return cast("asyncssh.SSHClientConnection", writer.channel.get_connection())


class NearlyFull:
    """A file that takes few bytes at a time, and then no more."""

    def __init__(self, room: int) -> None:
        self.room, self.data = room, b""

    def seek(self, offset: int) -> None:
        assert offset == 0

    def write(self, data: memoryview) -> int:
        if self.room == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken = bytes(data[: min(3, self.room)])
        self.data += taken
        self.room -= len(taken)
        return len(taken)


def test_a_short_write_is_never_acknowledged_as_a_whole_one() -> None:
    server = sftpd.RootedSFTPServer.__new__(sftpd.RootedSFTPServer)
    enough = NearlyFull(100)
    assert server.write(enough, 0, b"0123456789") == 10
    assert enough.data == b"0123456789"
    with pytest.raises(OSError, match="No space left"):
        server.write(NearlyFull(7), 0, b"0123456789")


def test_operating_system_errors_arrive_in_its_words(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Any, file_obj: Any, offset: Any, data: Any) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(sftpd.RootedSFTPServer, "write", full)

    async def use(client: asyncssh.SFTPClient) -> Any:
        async with client.open("/a", "wb") as file:
            with pytest.raises(asyncssh.SFTPFailure, match="No space left on device"):
                await file.write(b"x")
        with pytest.raises(asyncssh.SFTPNoSuchFile):
            await client.open("/nothing")

    served.talk(use)


def test_a_client_that_vanishes_leaves_the_server_up(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = asyncio.Event()

    def close(self: Any, file_obj: Any) -> Any:
        file_obj.close()
        closed.set()

    monkeypatch.setattr(sftpd.RootedSFTPServer, "close", close)

    async def use(client: asyncssh.SFTPClient) -> Any:
        server_port = connection_of(client).get_extra_info("peername")[1]
        file = await client.open("/a", "wb")
        await file.write(b"half")
        connection_of(client).abort()
        # What the lost client had open is closed, without any word from it.
        await asyncio.wait_for(closed.wait(), 5)
        again = await served.connect(server_port)
        async with again, again.start_sftp_client() as second:
            return await second.getsize("/a")

    assert served.talk(use) == 4


def test_wrong_logins_are_refused(served: Served) -> None:
    async def use(client: asyncssh.SFTPClient) -> Any:
        raise AssertionError("let in")

    for options in ({"password": "wrong"}, {"username": "root"}, {"client_keys": [_key()], "password": None}):
        with pytest.raises(asyncssh.PermissionDenied):
            served.talk(use, **options)


def _key() -> asyncssh.SSHKey:
    return asyncssh.generate_private_key("ssh-ed25519")


def test_the_client_key_opens_too(served: Served) -> None:
    async def use(client: asyncssh.SFTPClient) -> Any:
        return await client.exists("/")

    key = served.credentials.files("/s")
    private = next(content for path, content, _ in key if path.endswith("client_key"))
    assert served.talk(use, password=None, client_keys=[asyncssh.import_private_key(private)])


def test_there_is_no_shell(served: Served) -> None:
    async def use(client: asyncssh.SFTPClient) -> Any:
        connection = connection_of(client)
        with pytest.raises(asyncssh.Error):
            await connection.run("id", check=True)

    served.talk(use)


def test_secrets_are_for_their_owner_alone(served: Served) -> None:
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in served.state.iterdir()}
    assert modes.pop("known_hosts") == 0o644
    assert set(modes.values()) == {0o600}


def test_mistakes_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        sftpd.main(["--directory", str(tmp_path / "no"), "--state", str(tmp_path), "--port", "0"])
    assert stop.value.code == 2
    assert "there is no such directory" in capsys.readouterr().err
    assert sftpd.main(["--directory", str(tmp_path), "--state", str(tmp_path), "--port", "0"]) == 1
    assert capsys.readouterr().err.startswith("sftpd: cannot serve: ")
