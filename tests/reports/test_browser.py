"""The page in a real browser: scripts run under the policy, packed runs open, nothing is fetched."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from urllib.parse import quote

import pytest

from backupchaos_reports.html import StoredRun, write_report

from .fixtures import campaign, hostile, many

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.slow]


def visit(tmp_path: Path, page: Path, fragment: str = "", *more: str) -> tuple[str, str]:
    """The document after its scripts have run, and what the console said."""
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    command += [
        f"--user-data-dir={tmp_path / 'profile'}",
        "--enable-logging=stderr",
        "--virtual-time-budget=4000",
    ]
    command += [*more, "--dump-dom", "file://" + quote(str(page)) + fragment]
    done = subprocess.run(command, capture_output=True, timeout=90, check=True)
    console = [line for line in done.stderr.decode("utf-8", "replace").split("\n") if "CONSOLE" in line]
    return done.stdout.decode("utf-8", "replace"), "\n".join(console)


def report(tmp_path: Path, runs: list[StoredRun]) -> Path:
    folder = tmp_path / "ä # 100% odd"
    folder.mkdir()
    return write_report(runs, folder / "re port.html")


def test_scripts_run_under_the_policy_and_nothing_complains(tmp_path: Path) -> None:
    dom, console = visit(tmp_path, report(tmp_path, campaign()))
    assert "10 of 10" in dom
    assert console == ""


def test_hostile_text_does_nothing(tmp_path: Path) -> None:
    dom, console = visit(tmp_path, report(tmp_path, [hostile()]))
    title = re.search("<title>(.*?)</title>", dom)
    assert title is not None
    assert title[1].startswith("The run failed")
    assert "<img" not in dom
    assert console == ""


def test_a_packed_run_opens_by_its_address(tmp_path: Path) -> None:
    page = report(tmp_path, many(60))
    anchor = re.search(r'href="#([^"]+)" data-b="1"', page.read_text("utf-8"))
    assert anchor is not None
    dom, console = visit(tmp_path, page, "#" + anchor[1])
    opened = dom[dom.index('id="opened"') :]
    assert f'<article id="{anchor[1]}"' in opened
    assert console == ""


def test_an_unknown_address_says_so(tmp_path: Path) -> None:
    dom, _ = visit(tmp_path, report(tmp_path, campaign()), "#no--such--run")
    assert "This report has no run with that address." in dom


def test_a_run_in_the_page_is_unfolded_by_its_address(tmp_path: Path) -> None:
    dom, _ = visit(tmp_path, report(tmp_path, campaign()), "#rclone--network_loss--7")
    start = dom.index('<article id="rclone--network_loss--7"')
    assert re.search(r'<details class="fold" open', dom[start : start + 400])
