"""Every command: what it prints, what it writes, which exit code it gives."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import backupchaos_scenarios

Cli = Callable[..., tuple[int, str, str]]
COMMANDS = ("list", "show", "lint", "run", "report", "doctor", "cleanup")
MINE = "scenario: mine\ntitle: Mine\nsource: {files: 5, size: 1MiB}\n"


def test_version_and_help(cli: Cli) -> None:
    from backupchaos import __version__

    assert cli("--version") == (0, f"backupchaos {__version__}\n", "")
    code, text, _ = cli("--help")
    assert code == 0
    assert all(command in text for command in COMMANDS)
    assert "exit codes" in text


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command_has_examples(cli: Cli, command: str) -> None:
    code, text, _ = cli(command, "--help")
    assert code == 0
    assert f"examples:\n  backupchaos {command}" in text


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("runn",),
        ("run",),
        ("run", "normal", "--seed", "-1"),
        ("run", "normal", "--repeat=0"),
        ("lint", "x", "--format=y"),
    ],
)
def test_usage_mistakes_give_4(cli: Cli, words: tuple[str, ...]) -> None:
    code, out, err = cli(*words)
    assert code == 4
    assert out == ""
    assert "error" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("run", "netwrk_loss"), "Did you mean 'network_loss'?"),
        (("run", "normal", "--target=referense"), "Did you mean 'reference'?"),
        (("run", "normal", "--repository=sftpp"), "repository"),
        (("run", "normal", "--require=volume"), "Did you mean 'volumes'?"),
        (("run", "normal", "--require=foo"), "--require: there is no capability 'foo'. Known: "),
        (("run", "normal", "--require=foo", "--dry-run"), "--require: there is no capability 'foo'. Known: "),
        (("run", "normal", "--repository=s3"), "target reference speaks only local, sftp"),
        (("run", "normal", "--allow=/etc"), "--allow: '/etc' belongs to the system and is never allowed"),
        (("run", "normal", "--allow=nas"), "--allow: expected HOST:PORT"),
        (
            ("run", "normal", "--service=openshh"),
            "--service: there is no service 'openshh'. Did you mean 'openssh'?",
        ),
        (("run", "normal", "--service=minio"), "--service=minio would change nothing: it serves s3"),
        (("run", "normal", "--service=openssh", "--service=asyncssh"), "both serve sftp"),
        (
            ("run", "normal", "--report=/dev/null/x/report.html"),
            "--report /dev/null/x/report.html: /dev/null is no",
        ),
        (("run", "normal", "--report=/proc"), "--report /proc: that is a folder"),
        (("list", "--service=x"), "there is no service 'x'"),
        (("show", "disk_ful"), "Did you mean 'disk_full'?"),
        (("list", "--tag=quik"), "Did you mean 'quick'?"),
        (("report", "nowhere"), "no run found"),
        (("lint", "."), "no *.chaos.yaml file"),
    ],
)
def test_mistakes_of_the_user_give_4_and_no_traceback(cli: Cli, words: tuple[str, ...], message: str) -> None:
    code, out, err = cli(*words)
    assert (code, out) == (4, "")
    assert err.startswith("backupchaos: ")
    assert message in err
    assert "Traceback" not in err
    assert "Traceback" in cli(*words, "--traceback")[2]


def test_a_defect_of_ours_gives_3_and_says_so(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr("backupchaos_cli.listing.look", broken)
    code, _, err = cli("list")
    assert code == 3
    assert "ZeroDivisionError: oh" in err
    assert "Traceback" not in err


def test_list(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, _ = cli("list")
    assert code == 0
    assert all(f"\n{name} " in out for name in backupchaos_scenarios.names())
    code, out, _ = cli("list", "--tag", "baseline")
    assert "\nnormal " in out
    assert "\ndisk_full " not in out
    monkeypatch.setenv("FAKE_LACKING", "volumes=no room")
    found = {one["name"]: one for one in json.loads(cli("list", "--json")[1])}
    assert tuple(found) == backupchaos_scenarios.names()
    assert found["normal"]["runnable"] is True
    assert (found["disk_full"]["runnable"], found["disk_full"]["reason"]) == (False, "volumes: no room")
    assert "volumes" in found["disk_full"]["needs"]


def test_show(cli: Cli, tmp_path: Path) -> None:
    code, out, _ = cli("show", "network_loss")
    assert code == 0
    for words in (
        "deadline: 2m",
        "schedule:",
        "cut  network.down: at 50%, for 5s",
        "retries",
        "needs: link, sftp",
    ):
        assert words in out
    (tmp_path / "mine.chaos.yaml").write_text(MINE)
    assert "title: Mine" in cli("show", "mine.chaos.yaml")[1]


@pytest.mark.parametrize("name", backupchaos_scenarios.names())
def test_every_built_in_scenario_can_be_shown(cli: Cli, name: str) -> None:
    code, out, _ = cli("show", name)
    assert code == 0
    assert f"scenario: {name}" in out


def test_lint(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "good.chaos.yaml").write_text(MINE)
    (tmp_path / "bad.chaos.yaml").write_text(MINE + "faluts: {}\ndeadline: 30\n")
    assert cli("lint", "good.chaos.yaml") == (0, "1 file checked, no problems\n", "")
    code, out, _ = cli("lint", "bad.chaos.yaml", "good.chaos.yaml")
    assert code == 1
    assert "bad.chaos.yaml:4:1: unknown-key" in out
    assert "bad.chaos.yaml:5:11:" in out
    assert out.endswith("2 files checked, 2 problems\n")
    assert [p["line"] for p in json.loads(cli("lint", ".", "--format=json")[1])] == [4, 5]
    first, second = cli("lint", ".", "--format", "github")[1].splitlines()
    assert first.startswith("::error file=bad.chaos.yaml,line=4,col=1,title=unknown-key::")
    assert second.startswith("::error file=bad.chaos.yaml,line=5,col=11,")
    assert cli("lint", "no.chaos.yaml")[0] == 1


@pytest.mark.parametrize(
    ("verdicts", "missing", "options", "code"),
    [
        ("", "", (), 0),
        ("disk_full=fail", "", (), 1),
        ("disk_full=unverified", "", (), 2),
        ("disk_full=invalid", "", (), 2),
        ("disk_full=invalid,normal=fail", "", (), 1),
        ("", "disk_full=volumes", (), 0),
        ("", "disk_full=volumes,normal=volumes", (), 2),
        ("", "disk_full=volumes", ("--require=volumes",), 1),
        ("", "disk_full=volumes", ("--require=all",), 1),
    ],
)
def test_exit_codes_of_run(  # noqa: PLR0917
    cli: Cli,
    monkeypatch: pytest.MonkeyPatch,
    verdicts: str,
    missing: str,
    options: tuple[str, ...],
    code: int,
) -> None:
    monkeypatch.setenv("FAKE_VERDICTS", verdicts)
    monkeypatch.setenv("FAKE_MISSING", missing)
    assert cli("run", "normal", "disk_full", *options)[0] == code


def test_what_no_run_made_needs_the_scenario_and_the_option(
    cli: Cli, fakes: ModuleType, tmp_path: Path
) -> None:
    (tmp_path / "mine.chaos.yaml").write_text(
        f"{MINE}allow: {{paths: [/srv/a, /srv/b], hosts: ['nas:22']}}\n"
    )
    code, out, err = cli("run", "normal", "mine.chaos.yaml", "--allow=/srv/b")
    assert (code, out, fakes.calls) == (4, "", [])
    assert "add: --allow=/srv/a --allow=nas:22" in err
    assert not (tmp_path / ".backupchaos").exists()
    allowed = ("--allow=/srv/a", "--allow=/srv/b", "--allow=nas:22")
    assert cli("run", "mine.chaos.yaml", *allowed)[0] == 0
    options = fakes.calls[-1][3]
    assert options.allow == {"/srv/a", "/srv/b", "nas:22"}
    assert all(word in options.reproduce for word in allowed)
    assert cli("run", "normal", *allowed)[0] == 0
    assert "--allow" not in fakes.calls[-1][3].reproduce


def test_run_stores_reports_and_repeats(cli: Cli, fakes: ModuleType, tmp_path: Path) -> None:
    code, out, err = cli("run", "normal", "--seed=5", "--repeat=3", "--results=out", "--report=page.html")
    assert code == 0
    assert [call[3].seed for call in fakes.calls] == [5, 6, 7]
    assert len(list((tmp_path / "out/runs").glob("*/results.json"))) == 3
    assert "seen by normal" in (tmp_path / "page.html").read_text()
    assert "3 runs: 3 pass" in out
    assert "report: page.html" in out
    assert "phase control" in err  # progress does not disturb what is piped on


def test_run_options_reach_the_engine(cli: Cli, fakes: ModuleType) -> None:
    cli(
        "run",
        "tag:baseline",
        "--repository=local",
        "--keep=always",
        "--link=embedded",
        "--target=rclone",
        "-q",
    )
    ((name, target, scenario, options),) = fakes.calls
    assert (name, target, scenario.repository) == ("normal", "rclone", "local")
    assert (options.keep, options.link_server) == ("always", "embedded")
    assert options.reproduce.startswith("backupchaos run normal --target=rclone --seed=")


def test_a_server_reaches_the_engine_and_the_replay(cli: Cli, fakes: ModuleType) -> None:
    cli("run", "network_loss", "--service=openssh", "--service=minio", "--target=restic")
    assert not fakes.calls  # no run would use minio
    cli("run", "network_loss", "--service=openssh")
    ((_, _, _, options),) = fakes.calls
    assert options.servers.names == {"sftp": "openssh"}
    assert "--service=openssh" in options.reproduce


def test_list_tells_which_servers_there_are(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    out = cli("list", "--tag=baseline")[1]
    assert "\n  s3: rclone, minio (not here: there is no minio program here)\n" in out
    assert "\n  rest: rclone, rest-server (not here: there is no rest-server program here)\n" in out
    assert "\n  sftp: asyncssh, openssh" in out
    assert "\n  database: redis (not here: redis-server is not on PATH), postgres" in out


def test_a_failed_run_is_explained_and_can_be_repeated(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_VERDICTS", "disk_full=fail")
    _, out, _ = cli("run", "disk_full", "--seed=5")
    assert "= because: The job of disk_full said success." in out
    assert "replay: backupchaos run disk_full --target=reference --seed=5" in out
    assert "##[error]" not in out


def test_dry_run_runs_nothing(
    cli: Cli, fakes: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_LACKING", "volumes=no room")
    code, out, _ = cli("run", "normal", "disk_full", "--dry-run")
    assert code == 0
    assert "1 of 2 runs can be made here" in out
    assert "no room" in out
    assert fakes.calls == []
    assert not list(tmp_path.iterdir())


def test_report_is_made_from_stored_runs(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_VERDICTS", "disk_full=fail")
    cli("run", "normal", "disk_full")
    first = (tmp_path / ".backupchaos/report.html").read_bytes()
    code, out, _ = cli("report", ".backupchaos/runs", "--html=again.html", "--markdown=summary.md")
    assert code == 1
    assert (tmp_path / "again.html").read_bytes() == first
    assert "disk&#95;full" in (tmp_path / "summary.md").read_text()
    assert "2 runs: 1 pass, 1 fail" in out


def test_colour_only_where_it_is_wanted(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[" not in cli("run", "normal", "-q")[1]
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[32m" in cli("run", "normal", "-q")[1]
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in cli("run", "normal", "-q")[1]


def test_a_reader_that_goes_away_is_no_error() -> None:
    command = f"{sys.executable} -m backupchaos_cli.main show network_loss | head -1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stderr == ""
    assert done.stdout.count("\n") == 1
    assert done.returncode == 0


@pytest.mark.parametrize("words", [["list"], ["list", "--tag", "quick"], ["show", "normal"]], ids=" ".join)
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_an_output_that_cannot_be_written_is_no_defect_of_ours(words: list[str], unbuffered: str) -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = subprocess.run(
            [sys.executable, "-m", "backupchaos_cli.main", *words],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        )
    assert done.stderr == "backupchaos: standard output cannot be written: No space left on device\n"
    assert done.returncode == 2


def test_the_entry_imports_nothing_heavy() -> None:
    code = (
        "import sys; from backupchaos_cli.main import main; main(['--help'])\n"
        "print([m for m in ('pydantic', 'yaml', 'jinja2', 'requests', 'asyncssh', 'pytest') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True, env=os.environ
    )
    assert done.stdout.endswith("[]\n")


def test_a_plan_knows_that_a_local_repository_has_no_link(cli: Cli) -> None:
    code, out, _ = cli("run", "network_loss", "normal", "--repository=local", "--dry-run")
    assert code == 0
    assert "a local repository has none (leave the repository open, or choose remote)" in out
    assert "1 of 2 runs can be made here" in out


def test_a_plan_knows_that_no_disk_image_can_be_mounted(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "3 of 3 runs" in cli("run", "power_cut", "lying_disk", "normal", "--dry-run")[1]
    monkeypatch.setenv("FAKE_LACKING", "image=for root only")
    out = cli("run", "power_cut", "lying_disk", "normal", "--dry-run")[1]
    assert out.count("image: for root only") == 2
    assert "1 of 3 runs can be made here" in out
    found = {one["name"]: one for one in json.loads(cli("list", "--json")[1])}
    assert "image" in found["power_cut"]["needs"]
    assert (found["power_cut"]["runnable"], found["normal"]["runnable"]) == (False, True)


def test_an_interrupt_counts_the_runs_that_never_began(
    cli: Cli, fakes: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    from backupchaos_cli import running

    def one(session: object, order: Any, *, quiet: bool) -> bool:
        if order.scenario.scenario == "disk_full":
            raise KeyboardInterrupt
        return False

    monkeypatch.setattr(running, "_one", one)
    code, out, _ = cli("run", "normal", "disk_full", "disk_inodes", "disk_quota")
    assert code == 130
    assert "2 of 4 runs were never started" in out


@pytest.mark.parametrize(
    ("words", "option"), [(("run", "normal", "--report"), "--report"), (("report", ".", "--html"), "--html")]
)
def test_no_chain_of_folders_is_made_for_a_report(
    cli: Cli, tmp_path: Path, words: tuple[str, ...], option: str
) -> None:
    code, _, err = cli(*words, "a/b/x.html")
    assert (code, err) == (4, f"backupchaos: {option} a/b/x.html: there is no folder a; make it first\n")
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_tells_its_exit_codes(cli: Cli, command: str) -> None:
    out = cli(command, "--help")[1]
    assert "exit codes: " in out
    assert "4 usage" in out
    assert ("1 a file has one, is missing" in out) is (command == "lint")
