"""``backupchaos cleanup``."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from backupchaos.environments.local.journal import heal
from backupchaos_cli.console import say


def main(options: argparse.Namespace) -> int:
    """Undo what dead runs left; nothing that belongs to a live run is touched."""
    lines = heal(dry_run=options.dry_run)
    if options.all:
        lines += _remove_results(options.results)
    for line in lines:
        say(f"would have: {line}" if options.dry_run else line)
    if not lines:
        say("nothing is left behind")
    return 0


def _remove_results(folder: Path) -> list[str]:
    """Only folders that hold a run's history: the path may be a mistake."""
    done = []
    for history in sorted(folder.glob("runs/*/history.jsonl")):
        shutil.rmtree(history.parent)
        done.append(f"removed {history.parent}")
    report = folder / "report.html"
    if done and report.is_file():
        report.unlink()
        done.append(f"removed {report}")
    return done
