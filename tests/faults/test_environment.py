"""Another version of the tool, and another configuration of the job."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from tests.faults.bench import Probe, bench, python, tried

from backupchaos.commands import Command
from backupchaos.errors import HarnessBroken, MissingCapability
from backupchaos.faults.version import describe, exchanged
from backupchaos.model.faults.repository import ConfigDrift, VersionDrift
from backupchaos.targets.base import Workspace

needs = pytest.mark.needs("namespaces", "seccomp")
SAYING = "import os, sys\nprint(os.environ.get('EDITION', 'first'), sys.argv[1:])"


def program(folder: Path, name: str = "other", mode: int = 0o755) -> str:
    """Another version of Python, which says so."""
    path = folder / name
    path.write_text(
        "#!/bin/sh\n"
        'if [ "$1" = --version ]; then echo Python 9.9; exit; fi\n'
        f'EDITION=second exec {sys.executable} "$@"\n'
    )
    path.chmod(mode)
    return str(path)


# -- version ---------------------------------------------------------------------------------------


@needs
def test_another_program_does_the_job(tmp_path: Path) -> None:
    path = program(tmp_path)
    result = tried(tmp_path, {"version.drift": "target", "program": path}, (*python(SAYING), "{source}"))
    assert result.lines == ["second ['/backupchaos/source']"]
    (fact,) = result.proof
    assert fact.startswith(
        f"the job executed {path}: {path} says 'Python 9.9', the version of the other jobs 'Python 3"
    )


@needs
def test_a_program_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = program(tmp_path, "oddly-named")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    result = tried(tmp_path, {"version.drift": "target", "program": "oddly-named"}, python(SAYING))
    assert result.lines == ["second []"]
    assert path in result.proof[0]


@needs
def test_the_same_program_is_no_other_version(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(sys.executable)
    with pytest.raises(MissingCapability, match="is the program that the target runs anyway"):
        tried(tmp_path, {"version.drift": "target", "program": str(link)}, python(SAYING))


@needs
def test_a_link_to_another_program(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to("/bin/true")
    result = tried(tmp_path, {"version.drift": "target", "program": str(link)}, python(SAYING))
    assert result.lines == []
    assert "the job executed" in result.proof[0]


@needs
@pytest.mark.parametrize("mode", [None, 0o644])
def test_a_program_that_cannot_be_run(mode: int | None, tmp_path: Path) -> None:
    path = str(tmp_path / "missing") if mode is None else program(tmp_path, mode=mode)
    with pytest.raises(MissingCapability, match="is not there, or may not be executed"):
        tried(tmp_path, {"version.drift": "target", "program": path}, python(SAYING))


@needs
def test_a_tool_that_knows_of_no_other_version(tmp_path: Path) -> None:
    with pytest.raises(MissingCapability, match="target probe knows of no other version of itself"):
        tried(tmp_path, {"version.drift": "target"}, python(SAYING))


class Drifting(Probe):
    other: Mapping[str, str] = {"EDITION": "drifted", "TOKEN": "s3cret"}

    def drifted(self, work: Workspace) -> Command:
        command = self.backup(work)
        return Command((*command.argv, "--new"), {**command.env, **self.other}, secrets=("s3cret",))


@needs
def test_the_target_knows_another_version(tmp_path: Path) -> None:
    result = tried(tmp_path, {"version.drift": "target"}, (), target=Drifting(python(SAYING)))
    assert result.lines == ["drifted ['--new']"]
    assert result.proof == [f"the job executed {sys.executable}: arguments --new, EDITION=drifted, TOKEN=•••"]


@needs
def test_no_difference_breaks_the_run(tmp_path: Path) -> None:
    class Same(Probe):
        def drifted(self, work: Workspace) -> Command:
            return self.backup(work)

    with pytest.raises(HarnessBroken, match="the same as the target's own"):
        tried(tmp_path, {"version.drift": "target"}, (), target=Same(python(SAYING)))


def test_only_the_tools_own_part_of_a_wrapped_command_is_exchanged() -> None:
    own = Command(("tool", "backup"), {"A": "1", "B": "2"}, "/own", b"in", ("s",))
    wrapped = replace(own, argv=("sh", "-c", "exec", *own.argv), env={"A": "1", "B": "2", "TZ": "UTC"})
    other = Command(("tool2", "save", "-x"), {"A": "3", "C": "4"}, "/own", b"", ("t",))
    assert exchanged(wrapped, own, other) == Command(
        ("sh", "-c", "exec", "tool2", "save", "-x"),
        {"A": "3", "C": "4", "TZ": "UTC"},
        "/own",
        b"",
        ("s", "t"),
    )
    with pytest.raises(HarnessBroken, match="not what the adapter said"):
        exchanged(Command(("another",)), own, other)


def test_differences_in_words() -> None:
    one = Command(("tool", "-a", "x"), {"SAME": "1", "GONE": "2"})
    assert describe(one, one) == ""
    assert (
        describe(one, Command(("tool", "x"), {"SAME": "1", "NEW": "3"})) == "arguments fewer, no GONE, NEW=3"
    )


# -- configuration -----------------------------------------------------------------------------------

LOOKING = """
import os, time
if os.path.exists('{repository}/f'): os.unlink('{repository}/f')
for name in ('HOME', 'XDG_CONFIG_HOME', 'XDG_CACHE_HOME', 'LANG', 'LC_ALL', 'TZ', 'EXTRA'):
    print(name, os.environ.get(name))
open('{repository}/f', 'w').close()
print(oct(os.stat('{repository}/f').st_mode & 0o777), time.strftime('%z'), '{cache}', os.listdir('{cache}'))
open('{cache}/made', 'w').close()
"""


@needs
def test_the_job_finds_another_world(tmp_path: Path) -> None:
    fault = {"config.drift": "target", "set": {"EXTRA": "more", "LANG": "de_DE.UTF-8"}}
    with bench(tmp_path, fault, python(LOOKING), env={"LANG": "from the adapter"}) as made:
        before = made.world.run(made.phases.target.backup(made.world.workspace), what="before")
        result = made.go()
        after = made.world.run(made.phases.target.backup(made.world.workspace), what="after")
    home, cache = "/backupchaos/state/.backupchaos-fault/home", "/backupchaos/cache/.backupchaos-fault"
    assert result.lines == [
        f"HOME {home}",
        f"XDG_CONFIG_HOME {home}/.config",
        f"XDG_CACHE_HOME {cache}",
        "LANG de_DE.UTF-8",
        "LC_ALL C",
        "TZ XXX+12",
        "EXTRA more",
        f"0o600 -1200 {cache} []",
    ]
    told, made_there = result.proof
    assert told == f"/proc/PID/environ of the job: HOME={home}, LANG=de_DE.UTF-8, TZ=XXX+12; umask 077"
    assert made_there == f"the job made 1 files there, first {cache}/made"
    for other in (before, after):
        assert "0o644 +0000 /backupchaos/cache " in other.stdout
        assert "HOME /backupchaos/state\n" in other.stdout


@needs
def test_a_job_that_never_began_proves_nothing(tmp_path: Path) -> None:
    with bench(tmp_path, {"config.drift": "target"}, python("pass")) as made:
        fault = made.fault
        fault.begin(0.0)
        fault.apply()
        fault.verify()
        fault.after_job()
        assert fault.bite() == []


@needs
def test_a_job_without_the_variables_proves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from backupchaos.faults.base import JobShape
    from backupchaos.faults.environment import OtherConfiguration

    monkeypatch.setattr(OtherConfiguration, "shape", lambda self: JobShape(env={"HOME": self.home}))
    assert tried(tmp_path, {"config.drift": "target"}, python("pass")).proof == []


@needs
def test_both_drifts_at_once(tmp_path: Path) -> None:
    drift: dict[str, Any] = {"config.drift": "target"}
    with bench(tmp_path, drift, (), target=Drifting(python(SAYING))) as made:
        from backupchaos.faults.registry import make_fault

        spec = VersionDrift.model_validate({"version.drift": "target"}, strict=False)
        made.phases.faults["version"] = make_fault("version", spec, made.ground)
        result = made.go()
        assert made.phases.faults["version"].bite()
    assert result.lines == ["drifted ['--new']"]
    assert result.proof


def test_senseless_models_are_refused() -> None:
    with pytest.raises(ValidationError, match="expected an absolute path"):
        VersionDrift.model_validate({"version.drift": "target", "program": "../restic"}, strict=False)
    with pytest.raises(ValidationError, match="names of variables"):
        ConfigDrift.model_validate({"config.drift": "target", "set": {"A=B": "x"}}, strict=False)
