"""The HTML report: one file, readable without scripts, styles or network."""

from backupchaos_reports.html.page import write_report
from backupchaos_reports.html.views import anchors
from backupchaos_reports.runs import StoredRun, load_runs

__all__ = ["StoredRun", "anchors", "load_runs", "write_report"]
