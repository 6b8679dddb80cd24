"""Probes of the misbehaviours on the source; see test_misbehaviours for what a probe is."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from tests.reference.support import describe, killed_at_end


@contextmanager
def at_read(number: int, strike: Callable[[str], object]) -> Iterator[None]:
    """``strike`` gets the path of the victim before its n-th read; what it raises, the reader gets."""
    honest, count = os.read, [0]

    def read(descriptor: int, size: int) -> bytes:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        if path.endswith("/victim"):
            count[0] += 1
            if count[0] == number:
                strike(path)
        return honest(descriptor, size)

    with mock.patch("os.read", read):
        yield


def replace(path: str) -> None:
    with open(path + ".new", "wb") as file:
        file.write(b"n" * 8_000)
    os.rename(path + ".new", path)


def versions(lab: Any, change: Callable[[str], object]) -> tuple[bool, bytes, float]:
    """(job succeeded, content that comes back, its time) when the victim changes before it is first read."""
    service = lab.local()
    os.utime(service.source / "victim", (1_000_000_000, 1_000_000_000))
    with at_read(1, change):
        result = service.backup(misbehave=lab.plant)
    found = service.restored().get(b"victim")
    assert found is not None
    return result.code == 0, found[3], found[2] / 1e9


def stores_torn_file(lab: Any) -> bool:
    succeeded, content, _ = versions(lab, replace)
    return succeeded and content == b"v" * 4_500 + b"n" * 3_500


def pads_shrunk_file(lab: Any) -> bool:
    succeeded, content, _ = versions(lab, lambda path: os.truncate(path, 4_500))
    return succeeded and content == b"v" * 4_500 + bytes(4_500)


def late_metadata(lab: Any) -> bool:
    succeeded, content, when = versions(lab, replace)
    return succeeded and content[:1] == b"v" and when > 1_000_000_001


def read_error_is_end(lab: Any) -> bool:
    def fail(path: str) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), path)

    service = lab.local()
    with at_read(2, fail):
        result = service.backup(misbehave=lab.plant)
    return bool(result.code == 0 and service.restored()[b"victim"][3] != b"v" * 9_000)


def stops_at_vanished_file(lab: Any) -> bool:
    service = lab.local()
    (service.source / "zebra").write_bytes(b"z")
    honest = os.open

    def open_(path: Any, *rest: Any, **more: Any) -> int:
        if os.fsencode(path).endswith(b"/victim"):
            os.unlink(path)
        return honest(path, *rest, **more)

    with mock.patch("os.open", open_):
        result = service.backup(misbehave=lab.plant)
    return result.code == 0 and b"zebra" not in service.restored()


def waits_for_lock(lab: Any) -> bool:
    service = lab.local()
    with mock.patch("fcntl.flock") as flock:
        assert service.backup(misbehave=lab.plant).code == 0
    return flock.called


def hangs_on_fifo(lab: Any) -> bool:
    service = lab.local()
    fifo = service.source / "fifo"
    os.mkfifo(fifo)
    with killed_at_end(service.spawn("backup", misbehave=lab.plant)) as process:
        while process.poll() is None:
            try:
                os.close(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
            except OSError as error:
                assert error.errno == errno.ENXIO, "nobody reads it"
                time.sleep(0.01)
            else:
                return True
    return False


def follows_link_loop(lab: Any) -> bool:
    service = lab.local()
    (service.source / "folder").mkdir()
    (service.source / "folder" / "up").symlink_to("../folder")
    assert service.backup(misbehave=lab.plant).code == 0
    return bool(service.restored() != describe(service.source))


PROBES = {
    probe.__name__: probe
    for probe in (
        stores_torn_file,
        pads_shrunk_file,
        late_metadata,
        read_error_is_end,
        stops_at_vanished_file,
        waits_for_lock,
        hangs_on_fifo,
        follows_link_loop,
    )
}
