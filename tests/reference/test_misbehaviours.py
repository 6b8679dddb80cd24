"""Every planted misbehaviour really misbehaves, and the honest job does not.

A probe does something to the service and answers: did it misbehave?  It is asked twice, once with the misbehaviour
planted and once without.
"""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from tests.reference.catalogs import ToldCatalog, environment
from tests.reference.remote import Remote
from tests.reference.source_probes import PROBES as SOURCE_PROBES
from tests.reference.support import PREFIX, Result, Service, describe, killed_at_end, odd_tree
from tests.reference.test_disk_full import failing_write
from tests.reference.test_source_faults import failing_open
from tests.reference.test_states import LEGAL

from backupchaos_reference.misbehaviour import CATALOGUE
from backupchaos_reference.repository import Repository


@dataclass
class Lab:
    """What a probe may use; `plant` is the misbehaviour, or nothing."""

    root: Path
    plant: str

    def local(self) -> Service:
        service = Service(self.root).ready()
        (service.source / "a").write_bytes(os.urandom(9_000))
        (service.source / "victim").write_bytes(b"v" * 9_000)
        return service

    def far(self, remote: Remote) -> Service:
        env = {
            PREFIX + "SFTP_PASSWORD": "secret",
            PREFIX + "SFTP_HOST_KEY": remote.public_key,
            PREFIX + "TIMEOUT": "2s",
            PREFIX + "RETRIES": "3",
            PREFIX + "RETRY_CAP": "0.1s",
        }
        service = Service(self.root, url=remote.url(), env=env).ready()
        (service.source / "data").write_bytes(os.urandom(60_000))
        return service

    def cut(self, then: str, *arguments: str, refusals: int | None = None) -> tuple[Result, int]:
        """A job whose link is cut; returns its result and the number of its connections."""
        with self.remote() as remote:
            service = self.far(remote)
            before = len(remote.connections)
            remote.cut_at, remote.then, remote.refusals = remote.bytes_up + 30_000, then, refusals
            result = service.backup(*arguments, misbehave=self.plant)
            return result, len(remote.connections) - before

    def remote(self) -> Remote:
        folder = self.root / "server"
        folder.mkdir()
        return Remote(folder)

    def full_disk(self, service: Service, after: int = 0) -> Result:
        (service.source / "new").write_bytes(os.urandom(9_000))
        with failing_write(service, errno.ENOSPC, after):
            return service.backup(misbehave=self.plant)


def delays(result: Result) -> list[float]:
    return [record["delay_s"] for record in result.events("retry")]


def restores_otherwise(lab: Lab) -> bool:
    service = Service(lab.root).ready()
    odd_tree(service.source)
    assert service.backup(misbehave=lab.plant).code == 0
    return service.restored() != describe(service.source)


def fill_holes(lab: Lab) -> bool:
    service = Service(lab.root).ready()
    odd_tree(service.source)
    assert service.backup().code == 0
    target = lab.root / "out"
    assert service.run("restore", "latest", "--target", str(target), misbehave=lab.plant).code == 0
    return (target / "sparse").stat().st_blocks * 512 > 1_000_000


def stale_content(lab: Lab) -> bool:
    service = lab.local()
    assert service.backup().code == 0
    (service.source / "a").write_bytes(os.urandom(9_000))
    assert service.backup(misbehave=lab.plant).code == 0
    return service.restored() != describe(service.source)


def swallow_enospc(lab: Lab) -> bool:
    service = lab.local()
    result = lab.full_disk(service)
    return result.code == 0 and service.jobs()[-1]["state"] == "SUCCESS"


def never_retry(lab: Lab) -> bool:
    result, connections = lab.cut("pass")
    return result.code == 1 and connections == 1 and not result.events("retry")


def retry_forever(lab: Lab) -> bool:
    result, connections = lab.cut("refuse", "--retries", "2", refusals=12)
    return result.code == 0 and connections == 1 + 12 + 1


def skip_unreadable_silently(lab: Lab) -> bool:
    service = lab.local()
    with failing_open("victim", errno.EACCES, 99):
        result = service.backup(misbehave=lab.plant)
    return result.code == 0 and b"victim" not in result.log and b"victim" not in service.restored()


def retry_permission_errors(lab: Lab) -> bool:
    service = lab.local()
    with failing_open("victim", errno.EACCES, 99) as opens:
        assert service.backup(misbehave=lab.plant).code == 1
    return len(opens) > 1


def retry_without_backoff(lab: Lab) -> bool:
    result, connections = lab.cut("refuse")
    return connections == 4 and delays(result) == [0.0, 0.0, 0.0]


def retry_decreasing_backoff(lab: Lab) -> bool:
    return all(later < earlier for earlier, later in itertools.pairwise(delays(lab.cut("refuse")[0])))


def claims_retry_without_trying(lab: Lab) -> bool:
    result, connections = lab.cut("refuse")
    return len(result.events("retry")) == 3 and connections == 1


def hang_on_dead_link(lab: Lab) -> bool:
    with lab.remote() as remote:
        service = lab.far(remote)
        remote.cut_at, remote.then = remote.bytes_up + 30_000, "silent"
        arguments = ("--retries", "1", "--timeout", "1s")
        with killed_at_end(service.spawn("backup", *arguments, misbehave=lab.plant)) as process:
            assert remote.tripped.wait(60)
            try:  # an honest job needs two seconds, and on a busy machine some more
                process.communicate(timeout=6 if lab.plant else 60)
            except subprocess.TimeoutExpired:
                return True
        return False


def ignores_term(lab: Lab) -> bool:
    with lab.remote() as remote:
        service = lab.far(remote)
        remote.cut_at, remote.then = remote.bytes_up + 30_000, "silent"
        with killed_at_end(service.spawn("backup", misbehave=lab.plant)) as process:
            assert remote.tripped.wait(60)
            process.send_signal(signal.SIGTERM)
            remote.mode = "pass"
            process.communicate(timeout=60)
            return process.returncode == 0


def corrupt_previous_snapshot(lab: Lab) -> bool:
    service = lab.local()
    assert service.backup().code == 0
    (service.source / "a").write_bytes(os.urandom(9_000))
    assert service.backup(misbehave=lab.plant).code == 0
    first, second = service.snapshots()
    assert service.restored(second) == describe(service.source)
    return service.run("restore", first, "--target", str(lab.root / "out")).code == 1


def delete_old_snapshots_on_full_disk(lab: Lab) -> bool:
    service = lab.local()
    assert service.backup().code == 0
    assert lab.full_disk(service).code == 1
    return service.snapshots() == []


def manifest_first(lab: Lab) -> bool:
    service = lab.local()
    assert lab.full_disk(service, after=2).code == 1
    return service.snapshots() != [] and service.run("check").code == 1


def success_before_durable(lab: Lab) -> bool:
    service = lab.local()
    seen: list[bytes] = []
    honest = Repository.publish_snapshot

    def look(*arguments: Any) -> None:
        # In a process of its own: a command resets the switchboard of the process that it runs in.
        with service.spawn("status") as process:
            seen.append(process.communicate()[0])
        honest(*arguments)

    with mock.patch.object(Repository, "publish_snapshot", look):
        assert service.backup(misbehave=lab.plant).code == 0
    return b"SUCCESS" in seen[0]


def leave_temp_files(lab: Lab) -> bool:
    service = lab.local()
    assert service.backup(misbehave=lab.plant).code == 0
    return bool(list((service.repo / "tmp").iterdir()))


def leave_lock(lab: Lab) -> bool:
    service = lab.local()
    assert service.backup(misbehave=lab.plant).code == 0
    assert lab.full_disk(service, after=2).code == 1
    blocked = service.backup(misbehave=lab.plant).code == 1
    assert service.run("unlock").code == 0
    assert service.backup(misbehave=lab.plant).code == 0
    return blocked


def leave_child_process(lab: Lab) -> bool:
    service = lab.local()
    children: list[subprocess.Popen[bytes]] = []
    honest = subprocess.Popen

    def popen(*arguments: Any, **more: Any) -> Any:
        children.append(honest(*arguments, **more))
        return children[-1]

    with mock.patch("subprocess.Popen", popen):
        assert service.backup(misbehave=lab.plant).code == 0
    alive = [child for child in children if child.poll() is None and os.getsid(child.pid) == child.pid]
    for child in children:
        child.kill()
        child.wait()
    return bool(alive)


def failing(lab: Lab) -> Result:
    return lab.full_disk(lab.local())


def no_error_log(lab: Lab) -> bool:
    return all(record["level"] != "error" for record in failing(lab).records)


def names_only_what_it_survived(lab: Lab) -> bool:
    service = lab.local()
    with failing_open("a", errno.EBUSY, 1), failing_open("victim", errno.EACCES, 99):
        result = service.backup(misbehave=lab.plant)
    assert result.code == 1
    assert b"EBUSY" in result.log
    return b"victim" not in result.log and b"EACCES" not in result.log


def field_is_missing(name: str) -> Callable[[Lab], bool]:
    return lambda lab: all(name not in record for record in lab.local().backup(misbehave=lab.plant).records)


def huge_log(lab: Lab) -> bool:
    service = lab.local()
    service.env = {PREFIX + "HUGE_LOG_MIB": "2"}
    return len(service.backup(misbehave=lab.plant).log) > 2 << 20


def binary_log(lab: Lab) -> bool:
    log = lab.local().backup(misbehave=lab.plant).log
    return b"\0" in log and b"\x1b[" in log and log.decode("utf-8", "replace").encode() != log


def illegal_transition(lab: Lab) -> bool:
    service = lab.local()
    assert service.backup(misbehave=lab.plant).code == 0
    lab.full_disk(service)
    illegal = [
        (step["from"], step["to"])
        for job in service.jobs()
        for step in job["transitions"][1:]
        if (step["from"], step["to"]) not in LEGAL
    ]
    assert illegal in ([], [("PENDING", "SUCCESS"), ("FAILED", "SUCCESS")])
    return bool(illegal)


def damaged(lab: Lab) -> Service:
    service = lab.local()
    assert service.backup().code == 0
    for path in (service.repo / "chunks").rglob("*"):
        if path.is_file() and path.stat().st_size > 4000:
            data = path.read_bytes()
            path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    return service


def check_always_ok(lab: Lab) -> bool:
    return damaged(lab).run("check", "--read-data", misbehave=lab.plant).code == 0


def restore_succeeds_on_damage(lab: Lab) -> bool:
    service, target = damaged(lab), lab.root / "out"
    result = service.run("restore", "latest", "--target", str(target), misbehave=lab.plant)
    return result.code == 0 and (target / "a").read_bytes() != (service.source / "a").read_bytes()


def claim_success_on_failure(lab: Lab) -> bool:
    service = lab.local()
    result = lab.full_disk(service, after=2)
    return result.code == 0 and service.jobs()[-1]["state"] == "SUCCESS" and service.snapshots() == []


def delete_old_snapshots_on_failure(lab: Lab) -> bool:
    service = lab.local()
    assert service.backup().code == 0
    with failing_open("victim", errno.EACCES, 99):
        assert service.backup(misbehave=lab.plant).code == 1
    return service.snapshots() == []


def hang_on_failure(lab: Lab) -> bool:
    with lab.remote() as remote:
        service = lab.far(remote)
        remote.cut_at, remote.then = remote.bytes_up + 30_000, "refuse"
        with killed_at_end(service.spawn("backup", "--retries", "0", misbehave=lab.plant)) as process:
            assert remote.tripped.wait(60)
            try:
                process.communicate(timeout=5 if lab.plant else 60)
            except subprocess.TimeoutExpired:
                return bool(service.jobs()[-1]["state"] != "SUCCESS")
        return False


def no_fsync(lab: Lab) -> bool:
    service = lab.local()
    with mock.patch("os.fsync") as synced:
        assert service.backup(misbehave=lab.plant).code == 0
    return not synced.called


def ignore_short_writes(lab: Lab) -> bool:
    service = lab.local()
    honest = os.write

    def write(descriptor: int, data: Any) -> int:
        inside = os.readlink(f"/proc/self/fd/{descriptor}").startswith(str(service.repo))
        return honest(descriptor, data[:100] if inside else data)

    with mock.patch("os.write", write):
        assert service.backup(misbehave=lab.plant).code == 0
    return service.run("check", "--read-data").code == 1


def recreate_missing_repository(lab: Lab) -> bool:
    service = lab.local()
    assert service.backup().code == 0
    shutil.rmtree(service.repo)
    return service.backup(misbehave=lab.plant).code == 0


def ignores_catalog(lab: Lab) -> bool:
    """Nobody listens at the catalog's address."""
    service = lab.local()
    service.env.update(environment("redis://default@127.0.0.1:1/0", RETRIES="1"))
    return service.backup(misbehave=lab.plant).code == 0


def catalog_success_first(lab: Lab) -> bool:
    with ToldCatalog() as catalog:
        service = lab.local()
        service.env.update(environment(catalog.url))
        assert service.backup(misbehave=lab.plant).code == 0
        progress = next(n for n, one in enumerate(catalog.told) if b"entries" in one)
        success = next(n for n, one in enumerate(catalog.told) if b"SUCCESS" in one)
        return success < progress


SAME_PROBE = (
    "truncate_last_file", "drop_empty_directory", "drop_mode", "drop_mtime", "drop_xattrs", "drop_hard_links",
    "drop_odd_names",
)  # fmt: skip

PROBES: dict[str, Callable[[Lab], bool]] = {
    "swallow_enospc": swallow_enospc,
    "exit_zero_after_giving_up": lambda lab: lab.cut("refuse")[0].code == 0,
    "never_retry": never_retry,
    "retry_forever": retry_forever,
    "retry_without_backoff": retry_without_backoff,
    "retry_decreasing_backoff": retry_decreasing_backoff,
    "retry_permission_errors": retry_permission_errors,
    "claims_retry_without_trying": claims_retry_without_trying,
    "hang_on_dead_link": hang_on_dead_link,
    "ignores_term": ignores_term,
    "skip_unreadable_silently": skip_unreadable_silently,
    "fill_holes": fill_holes,
    "stale_content": stale_content,
    "corrupt_previous_snapshot": corrupt_previous_snapshot,
    "delete_old_snapshots_on_full_disk": delete_old_snapshots_on_full_disk,
    "manifest_first": manifest_first,
    "success_before_durable": success_before_durable,
    "leave_temp_files": leave_temp_files,
    "leave_lock": leave_lock,
    "leave_child_process": leave_child_process,
    "claim_success_on_failure": claim_success_on_failure,
    "delete_old_snapshots_on_failure": delete_old_snapshots_on_failure,
    "hang_on_failure": hang_on_failure,
    "no_fsync": no_fsync,
    "ignore_short_writes": ignore_short_writes,
    "recreate_missing_repository": recreate_missing_repository,
    "no_error_log": no_error_log,
    "names_only_what_it_survived": names_only_what_it_survived,
    "no_trace_id": field_is_missing("trace_id"),
    "no_status_code": field_is_missing("status_code"),
    "huge_log": huge_log,
    "binary_log": binary_log,
    "illegal_transition": illegal_transition,
    "wrong_exit_code_on_failure": lambda lab: failing(lab).code == 3,
    "check_always_ok": check_always_ok,
    "ignores_catalog": ignores_catalog,
    "catalog_success_first": catalog_success_first,
    "restore_succeeds_on_damage": restore_succeeds_on_damage,
    **SOURCE_PROBES,
} | dict.fromkeys(SAME_PROBE, restores_otherwise)


def test_every_misbehaviour_has_a_probe() -> None:
    assert PROBES.keys() == CATALOGUE.keys()


@pytest.mark.parametrize("name", sorted(PROBES))
def test_planted_it_misbehaves(tmp_path: Path, name: str) -> None:
    assert PROBES[name](Lab(tmp_path, name))


@pytest.mark.parametrize("name", sorted(PROBES.keys() - set(SAME_PROBE[1:])))
def test_honest_it_does_not(tmp_path: Path, name: str) -> None:
    assert not PROBES[name](Lab(tmp_path, ""))
