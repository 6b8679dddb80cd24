"""``backupchaos report``."""

from __future__ import annotations

import argparse
from pathlib import Path

from backupchaos.errors import UsageProblem
from backupchaos.session.settings import check_report
from backupchaos_cli.console import colour, say
from backupchaos_cli.running import exit_code


def main(options: argparse.Namespace) -> int:
    """From stored runs to pages; without a page, one line per run. Exit code as for the runs themselves."""
    from backupchaos_reports import table
    from backupchaos_reports.html import load_runs, write_report
    from backupchaos_reports.markdown import step_summary

    for path, option in ((options.html, "--html"), (options.markdown, "--markdown")):
        if path:
            check_report(path, option)
    runs = load_runs(options.runs)
    results = [run.result for run in runs]
    if options.html:
        _written(options.html, lambda path: write_report(runs, path))
    if options.markdown:
        page = step_summary(results, report=str(options.html) if options.html else None)
        _written(options.markdown, lambda path: path.write_text(page, "utf-8"))
    if not (options.html or options.markdown):
        for result in results:
            say(
                f"{table.paint(table.badge(result.verdict), result.verdict, colour())}  {table.title(result)}"
            )
    for line in table.summary(results):
        say(line)
    return exit_code(results)


def _written(path: Path, write: object) -> None:
    assert callable(write)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path)
    except OSError as error:
        raise UsageProblem(f"{path}: cannot be written: {error.strerror}") from None
    say(f"wrote {path}")
