"""Our own SFTP server, spoken to over 127.0.0.1 by asyncssh's client."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import asyncssh
import pytest

from backupchaos.services import sftpd
from backupchaos.services.misdeeds import Misdeeds
from backupchaos.services.sftp_files import Credentials


class Served:
    """A server in this process, its directory, and its credentials."""

    def __init__(self, tmp_path: Path) -> None:
        self.root, self.state = tmp_path / "served", tmp_path / "state"
        self.root.mkdir()
        self.state.mkdir()
        self.credentials = Credentials()
        self.misbehaves = False
        self.events: list[dict[str, Any]] = []
        """What a server that is told to misbehave has told."""
        for path, content, mode in self.credentials.files(str(self.state)):
            Path(path).write_bytes(content)
            os.chmod(path, mode)

    def misdeeds(self) -> Misdeeds:
        self.orders = Misdeeds(7, lambda ev, **data: self.events.append({"ev": ev, **data}))
        return self.orders

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
            misdeeds = self.misdeeds() if self.misbehaves else None
            server = await sftpd.serve(
                str(self.root), str(self.state), 0, self.credentials.password, misdeeds
            )
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


# -- told to misbehave ----------------------------------------------------------------------------


@pytest.fixture
def told(served: Served) -> Served:
    served.misbehaves = True
    return served


def test_without_an_order_it_does_what_it_always_does(told: Served) -> None:
    async def use(client: asyncssh.SFTPClient) -> Any:
        await client.mkdir("/d")
        for name in ("/d/one", "/d/two"):
            async with client.open(name, "wb") as file:
                await file.write(b"x" * 100_000)
                await file.fsync()
        await client.symlink("one", "/d/link")
        await client.posix_rename("/d/two", "/d/three")
        assert await client.readlink("/d/link") == "one"
        assert await client.getsize("/d/three") == 100_000
        return sorted(await client.listdir("/d"))

    assert told.talk(use) == [".", "..", "link", "one", "three"]
    assert told.events == []
    assert told.orders.requests >= 12


def test_a_share_of_the_requests_fails_and_was_not_carried_out(told: Served) -> None:
    async def use(client: asyncssh.SFTPClient) -> Any:
        told.orders.impose("x", "errors", share=0.5)
        failed = []
        for number in range(40):
            try:
                await client.mkdir(f"/{number}")
            except asyncssh.SFTPFailure as failure:
                assert failure.reason == "internal server error"
                failed.append(f"/{number}")
        told.orders.lift("x")
        await client.mkdir("/after")
        return failed

    failed = told.talk(use)
    assert 8 < len(failed) < 32
    assert [event["target"] for event in told.events] == failed
    assert {event["method"] for event in told.events} == {"mkdir"}
    assert sorted(os.listdir(told.root)) == sorted(
        {"after", *(str(n) for n in range(40))} - {name[1:] for name in failed}
    )


@pytest.mark.parametrize(
    "operation",
    ["open", "write", "read", "fsync", "stat", "lstat", "scandir", "rename", "posix_rename", "remove", "mkdir", "rmdir",
     "setstat", "readlink", "symlink", "link", "statvfs"],
)  # fmt: skip
def test_every_request_can_fail(told: Served, operation: str) -> None:
    (told.root / "file").write_bytes(b"content")
    (told.root / "folder").mkdir()
    os.symlink("file", told.root / "sym")

    async def use(client: asyncssh.SFTPClient) -> Any:
        file = await client.open("/file", "r+b")
        requests: dict[str, Callable[[], Awaitable[Any]]] = {
            "open": lambda: client.open("/file"),
            "write": lambda: file.write(b"x"),
            "read": lambda: file.read(1, 0),
            "fsync": file.fsync,
            "stat": lambda: client.stat("/file"),
            "lstat": lambda: client.lstat("/file"),
            "scandir": lambda: client.listdir("/folder"),
            "rename": lambda: client.rename("/file", "/renamed"),
            "posix_rename": lambda: client.posix_rename("/file", "/renamed"),
            "remove": lambda: client.remove("/file"),
            "mkdir": lambda: client.mkdir("/new"),
            "rmdir": lambda: client.rmdir("/folder"),
            "setstat": lambda: client.utime("/file", (1, 1)),
            "readlink": lambda: client.readlink("/sym"),
            "symlink": lambda: client.symlink("a", "/new"),
            "link": lambda: client.link("/file", "/new"),
            "statvfs": lambda: client.statvfs("/"),
        }
        told.orders.impose("x", "errors", share=1.0)
        with pytest.raises(asyncssh.SFTPFailure, match="internal server error"):
            await requests[operation]()
        await file.close()  # never fails: nobody could say then whether the file is there

    told.talk(use)
    assert [event["method"] for event in told.events] == [operation]
    assert sorted(os.listdir(told.root)) == ["file", "folder", "sym"]
    assert (told.root / "file").read_bytes() == b"content"


def test_a_listing_is_one_request_whatever_it_looks_at(told: Served) -> None:
    for name in "abcde":
        (told.root / name).write_bytes(b"")

    async def use(client: asyncssh.SFTPClient) -> Any:
        told.orders.impose("x", "slow", delay=0.01)
        return len(await client.listdir("/"))

    assert told.talk(use) == 7
    assert [event["method"] for event in told.events] == ["scandir"]


def test_late_answers_wait_though_the_request_was_carried_out(told: Served) -> None:
    async def use(client: asyncssh.SFTPClient) -> Any:
        told.orders.impose("x", "slow", delay=3600.0)
        waiting = asyncio.ensure_future(client.mkdir("/late"))
        while not (told.root / "late").exists():
            await asyncio.sleep(0.01)
        done, _ = await asyncio.wait({waiting}, timeout=0.2)
        assert not done
        told.orders.lift("x")
        await waiting
        told.orders.impose("y", "slow", delay=0.05)
        start = asyncio.get_running_loop().time()
        await asyncio.gather(*(client.stat("/late") for _ in range(4)))
        return asyncio.get_running_loop().time() - start

    assert told.talk(use) >= 0.2  # one after the other
    assert [event["method"] for event in told.events] == ["mkdir"] + ["stat"] * 4


@pytest.mark.parametrize("by", ["password", "key"])
def test_expired_credentials_end_the_session_and_open_nothing_until_they_are_back(
    told: Served, by: str
) -> None:
    private = next(data for path, data, _ in told.credentials.files("/s") if path.endswith("client_key"))
    key = {"password": None, "client_keys": [asyncssh.import_private_key(private)]} if by == "key" else {}

    async def use(client: asyncssh.SFTPClient) -> Any:
        connection = connection_of(client)
        port = connection.get_extra_info("peername")[1]
        told.orders.impose("x", "credentials")
        await connection.wait_closed()
        with pytest.raises(asyncssh.SFTPError):
            await client.stat("/")
        with pytest.raises(asyncssh.PermissionDenied):
            await told.connect(port, **key)
        told.orders.lift("x")
        again = await told.connect(port, **key)
        async with again, again.start_sftp_client() as second:
            return await second.exists("/")

    assert told.talk(use, **key)
    cut, *refused = told.events
    assert (cut["ev"], cut["user"]) == ("cut", "backup")
    logins = {(event["method"], event["target"]) for event in refused}
    assert logins == {("login", "publickey" if by == "key" else "password")}


def test_it_listens_where_it_is_told_to_and_nowhere_else(served: Served) -> None:
    async def main() -> None:
        state = str(served.state)
        server = await sftpd.serve(
            str(served.root), state, 0, served.credentials.password, listen="127.0.0.2"
        )
        port = server.get_port()
        socket.create_connection(("127.0.0.2", port), 5).close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), 5)
        server.close()
        await server.wait_closed()

    asyncio.run(main())


def test_mistakes_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        sftpd.main(["--directory", str(tmp_path / "no"), "--state", str(tmp_path), "--port", "0"])
    assert stop.value.code == 2
    assert "there is no such directory" in capsys.readouterr().err
    assert sftpd.main(["--directory", str(tmp_path), "--state", str(tmp_path), "--port", "0"]) == 1
    assert capsys.readouterr().err.startswith("sftpd: cannot serve: ")
