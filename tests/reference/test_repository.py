"""Damage is found, never restored; old snapshots go only when asked to."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from tests.reference.support import PREFIX, Service, describe


@pytest.fixture
def full(service: Service) -> Service:
    (service.source / "a").write_bytes(os.urandom(9_000))
    (service.source / "b").write_bytes(os.urandom(9_000))
    assert service.backup().code == 0
    return service


def chunks(service: Service) -> list[Path]:
    return sorted(path for path in (service.repo / "chunks").rglob("*") if path.is_file())


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_every_single_flipped_chunk_is_found_by_the_deep_check(full: Service) -> None:
    assert full.run("check", "--read-data").code == 0
    for path in chunks(full):
        original = path.read_bytes()
        flip(path)
        result = full.run("check", "--read-data")
        assert result.code == 1
        assert path.name in " ".join(error["message"] for error in result.errors)
        path.write_bytes(original)


def test_every_missing_chunk_is_found_without_reading_data(full: Service) -> None:
    for path in chunks(full):
        original = path.read_bytes()
        path.unlink()
        assert full.run("check").code == 1
        path.write_bytes(original)
    assert full.run("check").code == 0


def test_a_chunk_under_another_name_is_damage(full: Service) -> None:
    first, second, *_ = chunks(full)
    first.write_bytes(second.read_bytes())
    assert full.run("check", "--read-data").code == 1


def test_restore_leaves_damaged_files_out_and_fails(full: Service) -> None:
    whole = describe(full.source)
    biggest = max(chunks(full), key=lambda path: path.stat().st_size)
    flip(biggest)
    target = full.root / "out"
    result = full.run("restore", "latest", "--target", str(target))
    assert result.code == 1
    named = {os.path.basename(error["path"]) for error in result.errors}
    left = describe(target)
    assert named
    assert {name.encode() for name in named} == whole.keys() - left.keys()
    assert all(left[path] == whole[path] for path in left if path != b".")


def test_a_truncated_chunk_is_stored_anew_by_the_next_job(full: Service) -> None:
    for path in chunks(full):
        os.truncate(path, 10)
    assert full.backup().code == 0
    assert full.restored() == describe(full.source)


def test_a_damaged_snapshot_is_listed_as_such_and_the_others_still_are(full: Service) -> None:
    assert full.backup().code == 0
    first, second = sorted((full.repo / "snapshots").iterdir())
    flip(first)
    result = full.run("snapshots", "--json")
    assert result.code == 1
    assert second.name in result.stdout
    assert full.restored(second.name) == describe(full.source)
    assert full.run("check").code == 1


def test_prune_keeps_what_is_asked_for(full: Service) -> None:
    old = describe(full.source)
    (full.source / "a").write_bytes(os.urandom(9_000))
    assert full.backup().code == 0
    (full.source / "b").unlink()
    assert full.backup().code == 0
    first, _, third = full.snapshots()
    assert full.restored(first) == old
    many = len(chunks(full))
    assert full.run("prune", "--keep-last", "1").code == 0
    assert full.snapshots() == [third]
    assert len(chunks(full)) == many, "young chunks are spared: a running job may need them"
    assert full.run("prune", "--keep-last", "1", "--grace", "0s").code == 0
    assert len(chunks(full)) < many
    assert full.restored(third) == describe(full.source)
    assert full.run("check", "--read-data").code == 0


def test_prune_without_a_number_keeps_every_snapshot(full: Service) -> None:
    old = describe(full.source)
    (full.source / "a").write_bytes(os.urandom(9_000))
    assert full.backup().code == 0
    first, second = full.snapshots()
    (full.repo / "snapshots" / second).unlink()
    many = len(chunks(full))
    assert full.run("prune", "--grace", "0s").code == 0
    assert full.snapshots() == [first]
    assert len(chunks(full)) < many, "what only the lost snapshot needed is gone"
    assert full.restored(first) == old


def test_a_job_may_cut_files_otherwise_than_the_repository(full: Service) -> None:
    (full.source / "large").write_bytes(os.urandom(400_000))

    def stored(size: str) -> int:
        """New chunks of a job with another size; an empty text is the repository's own."""
        before = len(chunks(full))
        full.env[PREFIX + "CHUNK_SIZE"] = size
        assert full.backup().code == 0
        assert full.restored() == describe(full.source)
        return len(chunks(full)) - before

    assert 400_000 // 65_536 < stored("65536") < 400_000 // 4096
    assert stored("") >= 400_000 // 4096, "the next job cuts as the repository says"
    assert full.run("check", "--read-data").code == 0


def test_snapshots_are_ordered_by_number_when_the_clock_goes_back(full: Service) -> None:
    (full.source / "a").write_text("newer")
    with mock.patch("backupchaos_reference.backup.time.time", lambda: 0.0):
        assert full.backup().code == 0
    assert full.snapshots()[-1].startswith("000002-19700101")
    assert full.restored("latest") == describe(full.source)


def test_a_wrong_password_is_told_from_damage(full: Service) -> None:
    wrong = Service(full.root, env={PREFIX + "PASSWORD": "wrong"})
    result = wrong.run("snapshots")
    assert (result.code, result.errors[0]["status_code"]) == (1, 403)
    (full.repo / "config").write_text("{")
    assert full.run("snapshots").errors[0]["status_code"] == 422


def test_a_repository_that_is_not_there_is_never_made_by_a_backup(tmp_path: Path) -> None:
    service = Service(tmp_path)
    assert service.backup().code == 1
    assert not service.repo.exists()


def test_init_never_touches_an_existing_repository(full: Service) -> None:
    assert full.run("init").code == 2
    assert full.restored() == describe(full.source)


def test_restore_refuses_a_folder_that_is_in_use(full: Service) -> None:
    before = describe(full.source)
    assert full.run("restore", "latest", "--target", str(full.source)).code == 2
    assert describe(full.source) == before


def test_nothing_in_the_repository_is_plain(service: Service) -> None:
    (service.source / "secret-name").write_bytes(b"secret content " * 100)
    assert service.backup().code == 0
    stored = b"".join(path.read_bytes() for path in service.repo.rglob("*") if path.is_file())
    names = " ".join(str(path) for path in service.repo.rglob("*"))
    assert b"secret" not in stored
    assert "secret" not in names


def test_a_snapshot_whose_publication_cannot_be_made_durable_is_taken_back(full: Service) -> None:
    before = full.snapshots()
    honest = os.fsync

    def fsync(descriptor: int) -> None:
        if os.readlink(f"/proc/self/fd/{descriptor}").endswith("/snapshots"):
            raise OSError(errno.EIO, "Input/output error")
        honest(descriptor)

    with mock.patch("os.fsync", fsync):
        result = full.backup()
    assert result.code == 1
    assert full.snapshots() == before


def test_everything_is_synced_before_the_snapshot_is_published(full: Service) -> None:
    (full.source / "new").write_bytes(os.urandom(9_000))
    events: list[tuple[str, str]] = []
    fsync, rename = os.fsync, os.rename

    def log_fsync(descriptor: int) -> None:
        events.append(("sync", os.readlink(f"/proc/self/fd/{descriptor}")))
        fsync(descriptor)

    def log_rename(origin: Any, to: Any) -> None:
        events.append(("rename", str(to)))
        assert events[-2] == ("sync", str(origin)) or ("sync", str(origin)) in events
        rename(origin, to)

    with mock.patch("os.fsync", log_fsync), mock.patch("os.rename", log_rename):
        assert full.backup().code == 0
    names = [name for kind, name in events if kind == "rename"]
    assert "/snapshots/" in names[-1]
    assert len(names) > 3
    last_chunk = max(at for at, event in enumerate(events) if event[0] == "rename" and "/chunks/" in event[1])
    publication = events.index(("rename", names[-1]))
    synced = {name for kind, name in events[last_chunk:publication] if kind == "sync"}
    assert {str(full.repo / "chunks" / digit) for digit in "0123456789abcdef"} <= synced
    assert ("sync", str(full.repo / "snapshots")) in events[publication:]


def test_a_snapshot_under_another_name_is_damage(full: Service) -> None:
    (full.source / "a").write_text("newer")
    assert full.backup().code == 0
    first, second = sorted((full.repo / "snapshots").iterdir())
    second.write_bytes(first.read_bytes())
    assert full.run("restore", "latest", "--target", str(full.root / "out")).code == 1
    assert full.run("check").code == 1


def test_damage_that_no_snapshot_shows_yet_is_found_by_the_deep_check(full: Service) -> None:
    """A later job would take such a chunk for its own."""
    used = set(chunks(full))
    (full.source / "c").write_bytes(os.urandom(9_000))
    assert full.backup().code == 0
    snapshot = max((full.repo / "snapshots").iterdir())
    snapshot.unlink()
    unused = set(chunks(full)) - used
    assert full.run("check", "--read-data").code == 0
    flip(unused.pop())
    assert full.run("check").code == 0
    assert full.run("check", "--read-data").code == 1


def test_init_on_a_full_disk_leaves_no_file(tmp_path: Path) -> None:
    service = Service(tmp_path)
    honest = os.fsync

    def fsync(descriptor: int) -> None:
        if os.readlink(f"/proc/self/fd/{descriptor}").endswith(".part"):
            raise OSError(errno.ENOSPC, "No space left on device")
        honest(descriptor)

    with mock.patch("os.fsync", fsync):
        assert service.run("init").code == 1
    assert not [path for path in service.repo.rglob("*") if path.is_file()]
    assert service.ready().backup().code == 0
