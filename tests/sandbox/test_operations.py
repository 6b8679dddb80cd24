"""Operations inside: files, damage, trees, archives, network counters."""

from __future__ import annotations

import base64
import errno
import hashlib
import io
import os
import tarfile
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from backupchaos.environments import operations
from backupchaos.environments.base import Place
from backupchaos.errors import HarnessBroken

from .conftest import Box

pytestmark = pytest.mark.needs("namespaces")


@pytest.fixture(scope="module")
def inside() -> Iterator[Any]:
    from backupchaos.environments.local.environment import LocalEnvironment

    with LocalEnvironment().sandbox({}) as sandbox:
        yield sandbox


@pytest.fixture
def top(inside: Any, request: pytest.FixtureRequest) -> str:
    path = f"{inside.path(Place.SOURCE)}/{request.node.name.replace('/', '_')}"
    inside.call("make_directory", path=path)
    return path


def test_every_operation_is_found() -> None:
    for name in operations.NAMES:
        assert callable(operations.find(name))


def test_errors_are_told_apart(inside: Any, top: str) -> None:
    with pytest.raises(OSError, match="No such file") as caught:
        inside.call("stat", path=f"{top}/none")
    assert caught.value.errno == errno.ENOENT
    assert isinstance(caught.value, HarnessBroken)
    with pytest.raises(HarnessBroken, match="unknown operation 'nope'"):
        inside.call("nope")
    with pytest.raises(HarnessBroken, match="unexpected keyword"):
        inside.call("stat", pth="x")


def test_write_read_stat_chmod_digest(inside: Any, top: str) -> None:
    path = f"{top}/deep/er/f"
    inside.call("write_file", path=path, base64=base64.b64encode(b"\xff\0data").decode(), mode=0o640)
    assert inside.call("read_file", path=path) == {
        "base64": base64.b64encode(b"\xff\0data").decode(),
        "size": 6,
        "truncated": False,
    }
    assert inside.call("read_file", path=path, cap=2, offset=2, text=True) == {
        "text": "da",
        "size": 6,
        "truncated": True,
    }
    found = inside.call("stat", path=path)
    assert (found["type"], found["mode"], found["size"]) == ("file", 0o640, 6)
    assert inside.call("chmod", path=path, mode=0) == {"before": 0o640, "after": 0}
    assert inside.call("digest", path=path) == hashlib.sha256(b"\xff\0data").hexdigest()
    assert inside.call("digest", path=path + "x") is None


def test_odd_names_travel(inside: Any, top: str) -> None:
    for name in ("\udcff", "new\nline", "ünï"):
        inside.call("write_file", path=f"{top}/{name}", text=name)
    assert [entry[0] for entry in inside.call("list_files", root=top)["entries"]] == sorted(
        ["\udcff", "new\nline", "ünï"]
    )


@pytest.mark.parametrize("how", ["bitflip", "zero", "truncate", "empty", "delete", "swap"])
def test_damage_does_what_it_says_and_keeps_times(inside: Any, top: str, how: str) -> None:
    for name, byte in (("f", b"a"), ("g", b"b")):
        inside.call(
            "write_file", path=f"{top}/{name}", base64=base64.b64encode(byte * 10_000).decode(), mode=0o444
        )
    before = inside.call("stat", path=f"{top}/f")
    more = {"other": f"{top}/g"} if how == "swap" else {}
    record = inside.call("damage", path=f"{top}/f", how=how, seed="s", **more)
    assert record["before"] == hashlib.sha256(b"a" * 10_000).hexdigest()
    assert record["after"] == inside.call("digest", path=f"{top}/f")
    assert record["after"] != record["before"]
    if how == "delete":
        assert record["after"] is None
        return
    after = inside.call("stat", path=f"{top}/f")
    assert (after["mtime_ns"], after["mode"]) == (before["mtime_ns"], before["mode"])
    content = base64.b64decode(inside.call("read_file", path=f"{top}/f")["base64"])
    changed = [i for i, byte in enumerate(content) if byte != ord("a")]
    expected = {"bitflip": 1, "zero": None, "truncate": 0, "empty": 0, "swap": 10_000}[how]
    if how == "zero":
        assert set(content[record["offset"] : record["offset"] + 4096]) == {0}
        assert len(changed) == min(4096, 10_000 - record["offset"])
    else:
        assert len(changed) == expected
    assert len(content) == {"truncate": 5000, "empty": 0}.get(how, 10_000)
    if how == "bitflip":
        assert changed == [record["offset"]]
        assert content[changed[0]] ^ ord("a") == 1 << record["bit"]


def test_damage_is_the_same_for_the_same_seed(inside: Any, top: str) -> None:
    offsets = []
    for seed in ("1", "1", "2"):
        inside.call("write_file", path=f"{top}/f", text="x" * 100_000)
        offsets.append(inside.call("damage", path=f"{top}/f", how="bitflip", seed=seed)["offset"])
    assert offsets[0] == offsets[1] != offsets[2]
    inside.call("write_file", path=f"{top}/empty", text="")
    with pytest.raises(HarnessBroken, match="nothing to damage"):
        inside.call("damage", path=f"{top}/empty", how="bitflip")


def test_picking(inside: Any, top: str) -> None:
    for number, name in enumerate(("a", "sub/b", "c.txt", "sub/d.txt")):
        inside.call("write_file", path=f"{top}/{name}", text="x" * (number + 1))
    inside.call("write_file", path=f"{top}/empty", text="")

    def pick(**how: Any) -> list[str]:
        return [path.removeprefix(top + "/") for path in inside.call("pick_files", root=top, **how)]

    assert pick(pick="largest", count=2) == ["sub/d.txt", "c.txt"]
    assert pick(pick="smallest") == ["a"]
    assert pick(pick="newest") == ["sub/d.txt"]
    assert pick(pick="oldest") == ["a"]
    assert pick(pick="first", glob="*.txt", count=9) == ["c.txt", "sub/d.txt"]
    assert pick(pick="first", glob="sub/*", count=9) == ["sub/b", "sub/d.txt"]
    assert pick(seed=1, count=9) == pick(seed=1, count=9)
    assert {pick(seed=n)[0] for n in range(30)} == {"a", "sub/b", "c.txt", "sub/d.txt"}


def test_remove_tree_takes_whatever_modes(inside: Any, top: str) -> None:
    inside.call("write_file", path=f"{top}/a/b/c", text="x")
    inside.call("chmod", path=f"{top}/a/b", mode=0)
    inside.call("remove_tree", path=top)
    assert inside.call("list_files", root=top) == {"entries": [], "truncated": False, "errors": []}


def test_listing_is_capped(inside: Any, top: str) -> None:
    for number in range(5):
        inside.call("write_file", path=f"{top}/{number}", text="")
    listing = inside.call("list_files", root=top, cap=3)
    assert (len(listing["entries"]), listing["truncated"]) == (3, True)


def test_trees_and_archives_stream_to_a_descriptor(inside: Any, top: str) -> None:
    spec = {"files": 5, "size": 20_000, "features": ["symlinks", "non_utf8_names"]}
    inside.call("build_tree", root=f"{top}/t", spec=spec, seed="s")
    manifests = []
    for _ in range(2):
        out = os.memfd_create("manifest")
        summary = inside.call("scan_tree", fds=[out], root=f"{top}/t")
        with open(out, "rb") as file:
            file.seek(0)
            manifests.append(file.read())
        assert summary["files"] >= 5
        inside.call("copy_tree", source=f"{top}/t", destination=f"{top}/copy{len(manifests)}")
    assert manifests[0] == manifests[1]
    out = os.memfd_create("archive")
    told = inside.call("export_tar", fds=[out], path=f"{top}/t")
    with open(out, "rb") as file:
        file.seek(0)
        with tarfile.open(fileobj=io.BytesIO(file.read())) as archive:
            assert len(archive.getnames()) == told["entries"]
    assert told["errors"] == []


def test_network_stats(make_box: Callable[..., Box]) -> None:
    box = make_box()
    before = box.sandbox.call("network_stats")
    assert before["listeners"] == []
    with box.sandbox.open_socket() as server:
        server.bind(("127.0.0.1", 8080))
        server.listen()
        with pytest.raises(ConnectionRefusedError):
            box.sandbox.connect(8081)
        box.sandbox.connect(8080).close()
        after = box.sandbox.call("network_stats")
    assert after["listeners"] == [{"address": "127.0.0.1", "port": 8080}]
    assert after["tcp"]["AttemptFails"] == before["tcp"]["AttemptFails"] + 1
    assert after["tcp"]["PassiveOpens"] == before["tcp"]["PassiveOpens"] + 1


def test_reading_and_writing_leave_traces_and_our_own_looks_do_not(inside: Any, top: str) -> None:
    for name in ("still", "read", "written", "gone"):
        inside.call("write_file", path=f"{top}/{name}", text=name)
    before = inside.call("stat", path=f"{top}/still")["mtime_ns"]
    assert inside.call("keeps_access_times", path=top)
    moment = inside.call("unread", root=top)
    assert inside.call("read_since", root=top, moment=moment) == []
    for name in ("still", "read"):
        inside.call("digest", path=f"{top}/{name}")
    inside.call("damage", path=f"{top}/still", how="bitflip")
    assert inside.call("read_since", root=top, moment=moment) == [], "we looked, nobody else"
    inside.call("read_file", path=f"{top}/read")
    while inside.call("stat", path=f"{top}/written")["mtime_ns"] <= moment:  # its clock goes in ticks
        inside.call("write_file", path=f"{top}/written", text="other")
    inside.call("write_file", path=f"{top}/made", text="new")
    assert inside.call("read_since", root=top, moment=moment) == ["made", "read", "written"]
    assert inside.call("stat", path=f"{top}/still")["mtime_ns"] == before


def test_data_that_nobody_has_acknowledged(inside: Any) -> None:
    with inside.open_socket() as server:
        server.bind(("127.0.0.1", 8090))
        server.listen()
        with inside.connect(8090) as near:
            far, _ = server.accept()
            assert inside.call("unanswered", host="127.0.0.1", port=8090) == {"connections": 0, "bytes": 0}
            for end in (near, far):
                end.setblocking(False)
                with pytest.raises(BlockingIOError):
                    while True:
                        end.send(bytes(1 << 16))  # until nobody takes any more
            found = inside.call("unanswered", host="127.0.0.1", port=8090)
            assert found["connections"] == 1
            assert found["bytes"] > 0
            assert inside.call("unanswered", host="127.0.0.2", port=8090)["connections"] == 0
            far.close()


def test_what_was_begun_answers_whoever_waits_for_it(inside: Any, top: str) -> None:
    path = f"{top}/f"
    inside.call("write_file", path=path, base64=base64.b64encode(b"data").decode(), mode=0o640)
    mode = inside.begin("stat", path=path)
    none = inside.begin("stat", path=f"{top}/none")
    content = inside.begin("read_file", path=path)
    assert inside.call("digest", path=path) == hashlib.sha256(b"data").hexdigest()
    assert inside.usage(Place.SOURCE).total > 0
    assert content()["base64"] == base64.b64encode(b"data").decode()
    with pytest.raises(OSError, match="No such file") as caught:
        none()
    assert caught.value.errno == errno.ENOENT
    assert mode()["mode"] == 0o640


def test_what_was_begun_goes_on_beside_what_comes_next(inside: Any, top: str) -> None:
    read_end, write_end = os.pipe()
    try:
        # It cannot end before somebody has read what it writes, since that is more than a pipe holds.
        inside.call("build_tree", root=top, spec={"files": 3000, "size": 3000, "features": []}, seed=1)
        scan = inside.begin("scan_tree", fds=(write_end,), root=top)
        os.close(write_end)
        write_end = -1
        assert inside.call("stat", path=top)["mode"]
        with open(read_end, "rb") as pipe:
            read_end = -1
            assert pipe.read().count(b"\n") > 3000
        assert scan()["files"] == 3000
    finally:
        for fd in (read_end, write_end):
            if fd >= 0:
                os.close(fd)
