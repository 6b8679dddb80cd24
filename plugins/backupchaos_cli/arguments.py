"""The arguments of each command, with help worth reading. Only the standard library is imported here."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

Commands = Any
WHAT = "a built-in name, the path of a *.chaos.yaml file or of a folder with some, tag:TAG, or all"

CODES = {
    "list": "0 done",
    "show": "0 done",
    "lint": "0 no problem, 1 a file has one, is missing or cannot be read",
    "run": "0 pass, 1 fail or a required capability is missing, 2 unverified or invalid or nothing could be run, "
    "3 internal error",
    "report": "those of the stored runs: 0 pass, 1 fail, 2 unverified or invalid",
    "doctor": "0 built-in scenarios can run here, 2 none can",
    "cleanup": "0 done",
}
"""What each command says by its exit code, besides usage."""


def add_all(commands: Commands, common: argparse.ArgumentParser) -> None:
    """Every command, in the order in which people meet them."""

    def command(name: str, module: str, text: str, examples: str) -> argparse.ArgumentParser:
        added: argparse.ArgumentParser = commands.add_parser(
            name,
            help=text,
            description=f"{text[0].upper()}{text[1:]}.",
            epilog=f"exit codes: {CODES[name]}, 4 usage\n\nexamples:\n"
            + "\n".join(f"  backupchaos {line}" for line in examples.split("\n")),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            parents=[common],
        )
        added.set_defaults(module=module, command=name)
        return added

    for add in (_list, _show, _lint, _run, _report, _doctor, _cleanup):
        add(command)


Make = Callable[[str, str, str, str], argparse.ArgumentParser]


def natural(text: str) -> int:
    """A whole number from 0."""
    number = int(text)
    if number < 0:
        raise ValueError(text)
    return number


def positive(text: str) -> int:
    """A whole number from 1."""
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


natural.__name__, positive.__name__ = "whole number", "number from 1"  # argparse names them in its messages


def _target(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--target",
        default="reference",
        metavar="NAME|PATH",
        help="the tool under test: an adapter's name, a table in pyproject.toml, or a target file (default: reference)",
    )


def _env(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--env", choices=("auto", "local", "docker"), default="auto", help="where the runs happen"
    )
    parser.add_argument(
        "--pull",
        choices=("never", "missing"),
        help="with --env=docker or --link=container: whether images that are not here may be pulled (default: never, or BACKUPCHAOS_PULL)",
    )
    parser.add_argument(
        "--allow-remote-docker",
        action="store_true",
        help="with --env=docker: take a daemon that is reached over a network; faults strike the machine it is on",
    )


def _service(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--service",
        action="append",
        default=[],
        metavar="NAME",
        help="the server for its kind of repository, such as openssh (sftp), minio (s3) or rest-server (rest), "
        "or the database that a job gets, such as postgres; repeatable; 'backupchaos doctor' lists them all (default: asyncssh for sftp, else rclone)",
    )


def _list(command: Make) -> None:
    parser = command(
        "list",
        "listing",
        "list the built-in scenarios, what they need, and whether they can run here",
        "list\nlist --tag network\nlist --target restic --json",
    )
    parser.add_argument("--json", action="store_true", help="machine-readable output")
    parser.add_argument("--tag", metavar="TAG", help="only scenarios with this tag")
    _target(parser)
    _service(parser)


def _show(command: Make) -> None:
    parser = command(
        "show",
        "showing",
        "show a scenario with all defaults, its expectations in words and its schedule",
        "show network_loss\nshow chaos/mine.chaos.yaml",
    )
    parser.add_argument("scenario", metavar="NAME|PATH", help="a built-in name or a scenario file")


def _lint(command: Make) -> None:
    parser = command(
        "lint",
        "linting",
        "check scenario files: all mistakes at once, each with file, line and column",
        "lint chaos/*.chaos.yaml\nlint chaos --format github",
    )
    parser.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help="scenario files, or folders with some"
    )
    parser.add_argument(
        "--format",
        choices=("text", "json", "github"),
        default="text",
        help="for people, for programs, or as annotations of a GitHub workflow",
    )


def _run(command: Make) -> None:
    parser = command(
        "run",
        "running",
        "run scenarios against a target, and judge each by its restore",
        "run normal\nrun network_loss disk_full --target restic --seed 7\nrun tag:quick --require all\n"
        "run all --dry-run",
    )
    parser.add_argument("scenario", nargs="+", metavar="SCENARIO", help=WHAT)
    _target(parser)
    parser.add_argument(
        "--seed", type=natural, metavar="N", help="seed of data and faults (default: a new one, shown)"
    )
    _env(parser)
    parser.add_argument(
        "--repository",
        metavar="KIND",
        help="use this kind of repository: local, sftp, s3, rest, webdav, any or remote",
    )
    _service(parser)
    parser.add_argument(
        "--link",
        choices=("auto", "embedded", "toxiproxy", "container"),
        default="auto",
        help="the links' server: toxiproxy is the program on PATH, container the official image",
    )
    parser.add_argument(
        "--results",
        type=Path,
        default=Path(".backupchaos"),
        metavar="DIR",
        help="results go to DIR/runs (default: .backupchaos)",
    )
    parser.add_argument("--report", type=Path, metavar="PATH", help="HTML report (default: DIR/report.html)")
    parser.add_argument(
        "--keep",
        choices=("never", "failed", "always"),
        default="never",
        help="keep the repository beside the results",
    )
    parser.add_argument(
        "--require",
        action="append",
        default=[],
        metavar="CAPABILITY",
        help="fail instead of skipping when this is missing; repeatable; 'all' for everything",
    )
    parser.add_argument(
        "--allow",
        action="append",
        default=[],
        metavar="PATH|HOST:PORT",
        help="let scenarios touch this, which no run made; repeatable. Works only together with the key 'allow' "
        "of the scenario: whatever is there may be changed or destroyed",
    )
    parser.add_argument(
        "--repeat", type=positive, default=1, metavar="N", help="run each N times, with seeds counting up"
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would run, and what cannot")
    parser.add_argument("-q", "--quiet", action="store_true", help="no live progress")


def _report(command: Make) -> None:
    parser = command(
        "report",
        "reporting",
        "make reports from stored runs, without running anything",
        "report .backupchaos/runs --html report.html\nreport .backupchaos/runs/2026* --markdown summary.md",
    )
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="DIR", help="a run's folder, or one that holds runs"
    )
    parser.add_argument("--html", type=Path, metavar="PATH", help="write the HTML report to this file")
    parser.add_argument(
        "--markdown", type=Path, metavar="PATH", help="write the summary of a CI job to this file"
    )


def _doctor(command: Make) -> None:
    parser = command(
        "doctor",
        "doctor",
        "try everything that scenarios need on this machine, and say what to install",
        "doctor\ndoctor --target restic --service rest-server\ndoctor --env docker\ndoctor --json",
    )
    parser.add_argument("--json", action="store_true", help="machine-readable output")
    _target(parser)
    _env(parser)
    _service(parser)


def _cleanup(command: Make) -> None:
    parser = command(
        "cleanup",
        "cleaning",
        "remove what killed runs could have left behind",
        "cleanup --dry-run\ncleanup\ncleanup --all --dry-run\ncleanup --all",
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    parser.add_argument(
        "--all",
        action="store_true",
        help="remove the stored results of all runs too, and what Docker keeps for the next run; asks nothing",
    )
    parser.add_argument(
        "--results",
        type=Path,
        default=Path(".backupchaos"),
        metavar="DIR",
        help="where --all looks for results (default: .backupchaos)",
    )
