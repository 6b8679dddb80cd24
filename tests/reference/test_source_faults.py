"""Source files that are locked, forbidden, broken, changing, or gone."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import pytest
from tests.reference.support import Service, describe


@contextmanager
def failing_open(name: str, code: int, times: int) -> Iterator[list[int]]:
    """The first `times` opens of a file named `name` fail with `code`; yields the list of all its opens."""
    opens: list[int] = []
    honest = os.open

    def open_(path: Any, flags: int, *rest: Any, **more: Any) -> int:
        if os.path.basename(os.fsencode(path)) == name.encode():
            opens.append(flags)
            if len(opens) <= times:
                raise OSError(code, os.strerror(code), path)
        return honest(path, flags, *rest, **more)

    with mock.patch("os.open", open_):
        yield opens


@pytest.fixture
def victim(service: Service) -> Service:
    (service.source / "a").write_text("first")
    (service.source / "victim").write_text("content")
    return service


@pytest.mark.parametrize("code", [errno.EBUSY, errno.EAGAIN, errno.ETXTBSY])
def test_a_locked_file_is_retried_three_times_and_named(victim: Service, code: int) -> None:
    with failing_open("victim", code, 99) as opens:
        result = victim.backup()
    assert result.code == 1
    assert len(opens) == 1 + 3
    assert result.states == ["PENDING", "RUNNING", "RETRYING", "RETRYING", "RETRYING", "FAILED"]
    assert [retry["max"] for retry in result.events("retry")] == [3, 3, 3]
    assert {retry["status_code"] for retry in result.events("retry")} == {423}
    assert result.errors[-1]["path"] == str(victim.source / "victim")
    assert victim.snapshots() == []


def test_a_lock_that_passes_is_survived(victim: Service) -> None:
    with failing_open("victim", errno.EBUSY, 2):
        result = victim.backup()
    assert result.code == 0
    assert result.states == ["PENDING", "RUNNING", "RETRYING", "RETRYING", "RUNNING", "SUCCESS"]
    assert victim.restored() == describe(victim.source)


@pytest.mark.parametrize(
    ("code", "status"), [(errno.EACCES, 403), (errno.EPERM, 403), (errno.EIO, 500), (errno.ENOENT, 404)]
)
def test_what_cannot_be_read_fails_the_job_at_once(victim: Service, code: int, status: int) -> None:
    with failing_open("victim", code, 99) as opens:
        result = victim.backup()
    assert result.code == 1
    assert len(opens) == 1
    assert result.states == ["PENDING", "RUNNING", "FAILED"]
    assert result.errors[-1]["path"] == str(victim.source / "victim")
    assert result.errors[-1]["status_code"] == status
    assert victim.snapshots() == []
    assert not list((victim.repo / "tmp").iterdir())


def test_an_unreadable_folder_fails_the_job(victim: Service) -> None:
    (victim.source / "folder").mkdir()
    honest = os.listdir

    def listdir(path: Any) -> Any:
        if os.fsencode(path).endswith(b"/folder"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return honest(path)

    with mock.patch("os.listdir", listdir):
        result = victim.backup()
    assert result.code == 1
    assert result.errors[-1]["path"] == str(victim.source / "folder")


def grow_while_reading(times: int) -> Any:
    """read() that lets the file grow behind its reader's back, `times` times."""
    honest, left = os.read, [times]

    def read(descriptor: int, size: int) -> bytes:
        data = honest(descriptor, size)
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        if left[0] and path.endswith("/victim"):
            left[0] -= 1
            with open(path, "ab") as file:
                file.write(b"more")
        return data

    return mock.patch("os.read", read)


def test_a_file_that_changes_while_it_is_read_is_read_again(victim: Service) -> None:
    with grow_while_reading(1):
        result = victim.backup()
    assert result.code == 0
    assert "changed while it was read" in result.events("retry")[0]["cause"]
    assert victim.restored() == describe(victim.source)


def test_a_file_that_never_stops_changing_is_named(victim: Service) -> None:
    with grow_while_reading(99):
        result = victim.backup()
    assert result.code == 1
    assert result.errors[-1]["status_code"] == 409
    assert result.errors[-1]["path"] == str(victim.source / "victim")
    assert victim.snapshots() == []


def test_a_file_that_is_deleted_meanwhile_is_no_failure_but_is_mentioned(victim: Service) -> None:
    honest = os.open

    def open_(path: Any, *rest: Any, **more: Any) -> int:
        if os.fsencode(path).endswith(b"/victim"):
            os.unlink(path)
        return honest(path, *rest, **more)

    with mock.patch("os.open", open_):
        result = victim.backup()
    assert result.code == 0
    assert result.events("warning")[0]["path"] == str(victim.source / "victim")
    assert sorted(victim.restored()) == [b".", b"a"]


def test_devices_and_sockets_are_mentioned(service: Service) -> None:
    import socket

    with socket.socket(socket.AF_UNIX) as listener:
        previous = os.getcwd()
        os.chdir(service.source)  # the full path may be longer than a socket's name may be
        try:
            listener.bind("socket")
        finally:
            os.chdir(previous)
    result = service.backup()
    assert result.code == 0
    assert "socket" in result.events("warning")[0]["message"]
    assert sorted(service.restored()) == [b"."]


def test_a_repository_inside_the_source_is_refused(service: Service) -> None:
    nested = Service(service.root, url=str(service.source / "repo")).ready()
    result = nested.backup()
    assert result.code == 2
    assert "inside the source" in result.errors[0]["message"]


def test_a_missing_source_fails_and_is_named(service: Service) -> None:
    service.source.rmdir()
    result = service.backup()
    assert result.code == 1
    assert result.errors[-1]["path"] == str(service.source)
