"""Command line options and ini keys, resolved into one value: command line before ini before default.

PYTEST_DONT_REWRITE: see ``plugin``.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import pytest

FOLDER = ".backupchaos"
ALLOW = "--backup-allow"
SERVICE = "--backup-service"
REPOSITORY = "--backup-repository"
REQUIRE = "--backup-require"
_ENVIRONMENTS = ("auto", "local", "docker")
_REPOSITORIES = ("local", "sftp", "s3", "rest", "webdav", "any", "remote")
_KEEP = ("never", "failed", "always")
_PULL = ("never", "missing")
REMOTE = "--backup-allow-remote-docker"
_LINKS = ("auto", "embedded", "toxiproxy", "container")


@dataclass(frozen=True)
class BackupOptions:
    """What the user asked for. ``scenarios_from`` says where: only the command line selects what runs."""

    scenarios: tuple[str, ...]
    scenarios_from: Literal["command line", "ini", ""]
    targets: tuple[str, ...]
    targets_given: bool
    env: str
    report: Path
    runs: Path
    seed: int | None
    keep: str
    link: str
    require: frozenset[str]
    repository: str
    """The kind that stands in the place of the scenario's own; empty for none."""
    services: tuple[str, ...]
    allow: tuple[str, ...]
    pull: str
    remote_docker: bool
    min_run: int
    root: Path
    here: Path

    @property
    def selecting(self) -> bool:
        """Only scenarios are wanted in this run."""
        return self.scenarios_from == "command line"


def add_options(parser: pytest.Parser) -> None:
    """Declare everything; every option has an ini key of the same stem."""
    group = parser.getgroup("backup", "backup scenarios (backupchaos)")
    _add(
        parser,
        group,
        "scenario",
        "Run this scenario: a built-in name, the path of a *.chaos.yaml file, tag:TAG or all; repeatable. Tests that "
        "use testexecbackupjob run under it, other tests are deselected unless a file of theirs is named",
        metavar="NAME|PATH|tag:TAG|all",
        many=True,
    )
    _add(
        parser,
        group,
        "target",
        "The backup tool under test: an adapter's name or a target file; repeatable (default: reference)",
        metavar="NAME|PATH",
        many=True,
    )
    _add(
        parser,
        group,
        "env",
        "Where the runs happen: local (namespaces), docker or auto (default: auto)",
        choices=_ENVIRONMENTS,
    )
    _add(
        parser,
        group,
        "report",
        f"Write the HTML report to this file (default: {FOLDER}/report.html in the root directory)",
        metavar="PATH",
    )
    _add(
        parser,
        group,
        "seed",
        "Seed of generated data and faults (default: a new one, shown)",
        metavar="N",
        type=_natural,
    )
    _add(
        parser, group, "keep", "Keep the repository beside the results: never, failed, always", choices=_KEEP
    )
    _add(
        parser,
        group,
        "require",
        "Fail instead of skipping when this capability is missing; repeatable, 'all' for every one",
        metavar="CAPABILITY",
        many=True,
    )
    _add(
        parser,
        group,
        "repository",
        "Use this kind of repository, whatever the scenario says: local, sftp, s3, rest, webdav, any or remote",
        choices=_REPOSITORIES,
    )
    _add(
        parser,
        group,
        "service",
        "The server for its kind of repository, such as openssh (sftp), minio (s3) or rest-server (rest), "
        "or the database that a job gets, such as postgres; repeatable (default: asyncssh for sftp, else rclone). 'backupchaos doctor' lists them all",
        metavar="NAME",
        many=True,
    )
    # No ini key: what is destroyed has to be named by whoever starts the run, each time.
    group.addoption(
        ALLOW,
        action="append",
        dest="backup_allow",
        default=None,
        metavar="PATH|HOST:PORT",
        help="Let scenarios touch this, which no run made; repeatable. Works only together with the key 'allow' of the "
        "scenario: whatever is there may be changed or destroyed",
    )
    _add(
        parser,
        group,
        "link",
        "The server behind network links: embedded, toxiproxy (the program on PATH), container (the official image) "
        "or auto: toxiproxy if it is there, else embedded (default: auto)",
        choices=_LINKS,
    )
    _add(
        parser,
        group,
        "pull",
        "With --backup-env=docker or --backup-link=container: whether images that are not here may be pulled (default: never, or what the "
        "variable BACKUPCHAOS_PULL says)",
        choices=_PULL,
    )
    # No ini key: a checkout must not send faults to somebody else's machine.
    group.addoption(
        REMOTE,
        action="store_true",
        dest="backup_allow_remote_docker",
        help="With --backup-env=docker: take a daemon that is reached over a network; faults strike the machine it is on",
    )
    _add(
        parser,
        group,
        "min_run",
        "Fail if fewer scenario runs than this were really made (skipped ones do not count)",
        metavar="N",
        type=_natural,
    )


def _add(parser: pytest.Parser, group: Any, name: str, text: str, *, many: bool = False, **rest: Any) -> None:
    action = "append" if many else "store"
    kind: Literal["args", "string"] = "args" if many else "string"
    group.addoption(
        f"--backup-{name.replace('_', '-')}",
        action=action,
        dest=f"backup_{name}",
        default=None,
        help=text,
        **rest,
    )
    parser.addini(
        f"backup_{name}",
        f"{text.split('. ', maxsplit=1)[0]}; like --backup-{name.replace('_', '-')}",
        type=kind,
    )


def _natural(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ValueError(text)
    return number


_natural.__name__ = "whole number"  # argparse names it in its message
Origin = Literal["command line", "ini"]


def resolve(config: pytest.Config) -> BackupOptions:
    """The frozen value; raises ``pytest.UsageError`` for a bad ini value."""
    scenarios, origin = _many(config, "scenario")
    targets, given = _many(config, "target")
    require, _ = _many(config, "require")
    services, _ = _many(config, "service")
    here = config.invocation_params.dir
    report = config.getoption("backup_report")
    if report is not None:
        place = Path(here, report)
    else:
        ini = str(config.getini("backup_report"))
        place = Path(config.rootpath, ini or f"{FOLDER}/report.html")
    if place.is_dir():
        raise pytest.UsageError(f"--backup-report: {place} is a folder; give the path of a file")
    seed = _number(config, "seed")
    return BackupOptions(
        scenarios=scenarios,
        scenarios_from=origin if scenarios else "",
        targets=targets or ("reference",),
        targets_given=given == "command line" and bool(targets),
        env=_choice(config, "env", _ENVIRONMENTS),
        report=place,
        runs=config.rootpath / FOLDER / "runs",
        seed=seed,
        keep=_choice(config, "keep", _KEEP),
        link=_choice(config, "link", _LINKS),
        require=frozenset(require),
        repository=_choice(config, "repository", _REPOSITORIES, usual=""),
        services=services,
        allow=_typed(config),
        pull=_choice(config, "pull", ("", *_PULL)),
        remote_docker=bool(config.getoption("backup_allow_remote_docker")),
        min_run=_number(config, "min_run") or 0,
        root=config.rootpath,
        here=here,
    )


def _many(config: pytest.Config, name: str) -> tuple[tuple[str, ...], Origin]:
    option = config.getoption(f"backup_{name}")
    if option is not None:
        words = tuple(dict.fromkeys(str(word) for word in option))
        if not all(words):
            raise pytest.UsageError(f"--backup-{name}: expected a value, not an empty text")
        return words, "command line"
    return tuple(dict.fromkeys(config.getini(f"backup_{name}"))), "ini"


def _typed(config: pytest.Config) -> tuple[str, ...]:
    """What the option names; raises ``pytest.UsageError`` for what stands in addopts or PYTEST_ADDOPTS only."""
    given = tuple(dict.fromkeys(str(word) for word in config.getoption("backup_allow") or ()))
    words = [str(word) for word in config.invocation_params.args]
    for word in () if hasattr(config, "workerinput") else given:
        if f"{ALLOW}={word}" not in words and (ALLOW, word) not in pairwise(words):
            raise pytest.UsageError(f"{ALLOW}={word} counts only on the command line itself, not in addopts")
    return given


def _choice(config: pytest.Config, name: str, words: tuple[str, ...], usual: str | None = None) -> str:
    option = config.getoption(f"backup_{name}")
    if option is not None:
        return str(option)
    ini = str(config.getini(f"backup_{name}"))
    if ini and ini not in words:
        raise pytest.UsageError(f"ini key backup_{name}: expected one of {', '.join(words)}, not {ini!r}")
    return ini or (words[0] if usual is None else usual)


def _number(config: pytest.Config, name: str) -> int | None:
    option = config.getoption(f"backup_{name}")
    if option is not None:
        return int(option)
    ini = str(config.getini(f"backup_{name}"))
    if not ini:
        return None
    try:
        return _natural(ini)
    except ValueError:
        raise pytest.UsageError(f"ini key backup_{name}: expected a whole number, not {ini!r}") from None
