"""Pipes, sockets, devices, circular links and hard names in the source."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from tests.faults.bench import bench, python, tried

from backupchaos.environments.local.environment import LocalEnvironment
from backupchaos.environments.operations import specials
from backupchaos.errors import HarnessBroken, MissingCapability
from backupchaos.model.faults.files import FileSpecial

pytestmark = pytest.mark.needs("namespaces", "seccomp")

LOOK = """
import os, stat
for folder, folders, names in os.walk('{source}/backupchaos-special'):
    for name in folders + names:
        status = os.lstat(os.path.join(folder, name))
        print(ascii(name), stat.filemode(status.st_mode)[0])
"""
KINDS = ["fifo", "socket", "device", "long_name", "non_utf8", "link_loop"]


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The operations change it: they have a process of their own otherwise."""
    monkeypatch.chdir(tmp_path)


def test_every_type_is_there_for_the_job_and_nobody_after_it(tmp_path: Path) -> None:
    with bench(tmp_path, {"file.special": "source"}, python(LOOK)) as made:
        result = made.go()
        types = dict(line.rsplit(" ", 1) for line in result.lines)
        assert {
            "'pipe-without-writer'": "p",
            "'socket-of-nobody'": "s",
            "'loop-up'": "l",
            "'loop-self'": "l",
            "'latin1-\\udce9'": "-",
        }.items() <= types.items()
        assert max(len(name) for name in types) == 255 + 2
        assert [fact.split(":")[0] for fact in result.proof][:2] == ["fifo", "socket"]
        assert result.strays == []
        oracle = made.phases.oracle
        assert oracle["M2"].identity == oracle["M2.again"].identity
        assert oracle["M3"].entries > oracle["M2"].entries + 10
        assert not made.run("test", "-e", f"{made.ground.source}/backupchaos-special").ok


def test_only_what_was_asked_for_is_made(tmp_path: Path) -> None:
    result = tried(tmp_path, {"file.special": "source", "types": ["fifo", "link_loop"]}, python(LOOK))
    names = {line.split()[0] for line in result.lines}
    assert names == {
        "'fifo'",
        "'link_loop'",
        "'pipe-without-writer'",
        "'loop-up'",
        "'loop-self'",
        "'loop-a'",
        "'loop-b'",
    }
    assert [fact.split(":")[0] for fact in result.proof] == ["fifo", "link_loop"]


def test_each_type_must_be_met_by_itself(tmp_path: Path) -> None:
    code = "import os\nprint(os.listdir('{source}/backupchaos-special'), os.stat('{source}/backupchaos-special/fifo'))"
    result = tried(tmp_path, {"file.special": "source"}, python(code))
    assert "fifo" in result.lines[0]
    assert result.proof == [], "that a directory is there is no pipe"
    result = tried(
        tmp_path,
        {"file.special": "source"},
        python("import os\nos.listdir('{source}/backupchaos-special/fifo')"),
    )
    assert [fact.split(":")[0] for fact in result.proof] == ["fifo"]


@pytest.mark.needs("root")
def test_without_the_right_to_make_devices_they_are_left_out_and_it_is_said(tmp_path: Path) -> None:
    environment = LocalEnvironment("userns")
    if environment.probe()["namespaces"]:
        pytest.skip("needs user namespaces")
    result = tried(tmp_path, {"file.special": "source"}, python(LOOK), environment=environment)
    assert "'device'" not in {line.split()[0] for line in result.lines}
    assert "left out: device" in result.fault.mechanism
    assert result.proof
    with pytest.raises(
        MissingCapability, match="cannot be made in this sandbox: device: Operation not permitted"
    ):
        tried(
            tmp_path / "b",
            {"file.special": "source", "types": "device"},
            python(LOOK),
            environment=environment,
        )


def test_what_is_not_as_it_should_be_is_noticed(tmp_path: Path) -> None:
    with bench(tmp_path, {"file.special": "source"}, python(LOOK)) as made:
        fault: Any = made.fault
        before = made.world.sandbox.call("stat", path=made.ground.source)["mtime_ns"]
        fault.apply()
        fault.verify()
        pipe = f"{made.ground.source}/backupchaos-special/fifo/pipe-without-writer"
        made.run("sh", "-c", f"rm {pipe}; : > {pipe}")
        with pytest.raises(HarnessBroken, match="is no fifo, but a file"):
            fault.verify()
        with pytest.raises(HarnessBroken, match="is still in the source"):
            fault.verify_undone()
        fault.undo()
        fault.verify_undone()
        assert made.world.sandbox.call("stat", path=made.ground.source)["mtime_ns"] == before


def test_the_cause_is_named_by_words_or_names(tmp_path: Path) -> None:
    import re

    with bench(tmp_path, {"file.special": "source"}, python(LOOK)) as made:
        pattern = re.compile(made.fault.cause_pattern(), re.IGNORECASE)
        for text in (
            "skipping FIFO",
            "backupchaos-special/non_utf8/latin1-\\xe9: invalid",
            "open backupchaos-special/fifo/pipe-without-writer: I/O timeout",
            "Too many levels of symbolic links",
        ):
            assert pattern.search(text), text
        for text in ("backup failed: broken pipe", "socket closed", "no space left on device"):
            assert not pattern.search(text), text


def test_a_type_is_asked_for_once() -> None:
    with pytest.raises(ValidationError, match="given twice"):
        FileSpecial.model_validate({"file.special": "source", "types": ("fifo", "fifo")})
    assert FileSpecial.model_validate({"file.special": "source", "types": "fifo"}).types == ("fifo",)


@pytest.mark.parametrize("kind", KINDS)
def test_planting_and_uprooting(tmp_path: Path, kind: str) -> None:
    os.utime(tmp_path, ns=(1, 5_000_000_001))
    done = specials.plant_specials(str(tmp_path / "odd"), [kind])
    if done["left_out"]:
        assert os.geteuid() != 0
        return
    assert all(os.path.lexists(tmp_path / path) for path in done["made"][kind])
    assert tmp_path.stat().st_mtime_ns != 5_000_000_001
    specials.uproot(str(tmp_path / "odd"), done["parent_times"])
    assert os.listdir(tmp_path) == []
    assert tmp_path.stat().st_mtime_ns == 5_000_000_001


def test_what_cannot_be_made_is_left_out_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "mknod", refuse)
    done = specials.plant_specials(str(tmp_path / "odd"), ["fifo", "device"])
    assert done["left_out"] == {"device": "Operation not permitted"}
    assert list(done["made"]) == ["fifo"]
    assert os.listdir(tmp_path / "odd") == ["fifo"]
