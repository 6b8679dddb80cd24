"""Puts the page together. The same runs give the same bytes: nothing here asks for the time."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backupchaos._version import __version__
from backupchaos.durations import measured
from backupchaos.results import SYMBOL, RunResult, Verdict
from backupchaos_reports import words
from backupchaos_reports.html import packing, views
from backupchaos_reports.html.marks import number
from backupchaos_reports.html.palette import COLOURS, dark_rules
from backupchaos_reports.runs import StoredRun
from backupchaos_reports.text import visible

if TYPE_CHECKING:
    from jinja2 import Environment

HERE = Path(__file__).parent / "templates"
INLINE_PASSING = 50
"""Up to so many runs in all, passing ones are in the page itself; above, they are packed."""
OPEN_PASSING = 3
"""A report of so few runs is read run by run: none of them is folded."""
INLINE_OTHERS = 40
"""Runs that did not pass are in the page itself, the worst first, up to so many."""
LONGEST = 20_000


def environment() -> Environment:
    """Jinja2 with everything escaped, and every string made visible before that."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    def clean(value: Any) -> Any:
        if isinstance(value, Markup):
            return value
        return visible(value, LONGEST, lines=True) if isinstance(value, str) else value

    made = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        finalize=clean,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals.update(
        symbol=SYMBOL,
        which=words.WHICH,
        restore_words=words.restore_words,
        headline=words.headline,
        colours=COLOURS,
    )
    made.filters.update(seconds=_seconds, figure=Markup)
    return made


def _seconds(value: Any) -> str:
    known = number(value)
    return "unknown" if known is None else measured(known)


def write_report(runs: Sequence[StoredRun], out: Path, *, title: str | None = None) -> Path:
    """Write the report to ``out``, replacing it atomically; returns ``out``.

    ``title`` is shown above the verdict. Raises ``OSError`` if the file cannot be written.
    """
    ordered = sorted(runs, key=lambda run: (words.run_rank(run.result), run.result.run_id))
    jinja = environment()
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(out.name + ".tmp")
    with temporary.open("w", encoding="utf-8", newline="\n") as file:
        for chunk in jinja.get_template("report.html.j2").stream(**_values(jinja, ordered, title)):
            file.write(chunk)
    temporary.replace(out)
    return out


def _values(jinja: Environment, runs: Sequence[StoredRun], title: str | None) -> dict[str, Any]:
    from markupsafe import Markup

    results = [run.result for run in runs]
    names = views.anchors(results)
    pairs = list(zip(runs, names, strict=True))
    others = [p for p in pairs if p[0].result.verdict not in {Verdict.PASS, Verdict.SKIPPED}]
    passing = [p for p in pairs if p[0].result.verdict is Verdict.PASS]
    inline = passing if len(runs) <= INLINE_PASSING else []
    packed = others[INLINE_OTHERS:] + (passing if not inline else [])
    style = (HERE / "style.css").read_text("utf-8") + dark_rules()
    script = (HERE / "report.js").read_text("utf-8")
    article = jinja.get_template("run.html.j2")
    return {
        "title": title or "Backup resilience report",
        "sentence": words.verdict_sentence(results),
        "worst": (min(results, key=words.run_rank).verdict.value if results else "skipped"),
        "tally": words.tally(results),
        "bar": views.bar(results),
        "facts": facts(results),
        "matrix": views.matrix(results, names),
        "pairs": pairs,
        "block": {name: number // packing.BLOCK for number, (_, name) in enumerate(packed)},
        "others": _views(others[:INLINE_OTHERS]),
        "others_count": len(others),
        "others_packed": max(0, len(others) - INLINE_OTHERS),
        "passing": _views(inline),
        "passing_inline": bool(inline),
        "passing_open": len(runs) <= OPEN_PASSING,
        "passing_count": len(passing),
        "skipped": [p for p in pairs if p[0].result.verdict is Verdict.SKIPPED],
        "blocks": packing.blocks(article.render(v=view, open=True) for view in _views(packed, views.LEAN)),
        "digest": views.digest(results),
        "version": __version__,
        "limits": words.LIMITS,
        "style": Markup(style),  # noqa: S704 - our own file, not data
        "script": Markup(script),  # noqa: S704 - the same
        "policy": policy(style, script),
    }


def _clock(stamp: str) -> str:
    """``2026-01-05 10:00:00 UTC`` where the stamp is in UTC; else the stamp as it is."""
    match = re.fullmatch(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.\d+)?(?:Z|\+00:00)", stamp)
    return f"{match[1]} {match[2]} UTC" if match else visible(stamp, 40)


def policy(style: str, script: str) -> str:
    """A content security policy that allows exactly this style and this script, and no network at all."""
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, script)]
    return (
        f"default-src 'none'; style-src 'sha256-{hashes[0]}'; script-src 'sha256-{hashes[1]}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _views(pairs: Sequence[tuple[StoredRun, str]], detail: float = views.FULL) -> Iterator[views.RunView]:
    """Lazily: one history in memory at a time."""
    return (views.run_view(run, name, detail) for run, name in pairs)


def facts(results: Sequence[RunResult]) -> list[tuple[str, str]]:
    """What was run, when and by what, for the head of the page."""
    targets = sorted({f"{r.target} {r.target_version}".strip() for r in results})
    versions = sorted({r.environment.get("backupchaos", "") for r in results} - {""})
    starts = sorted(r.started_at for r in results if r.started_at)
    covered = sum(words.covered(r) for r in results)
    return [
        ("Targets", ", ".join(visible(t, 60) for t in targets[:12]) + (" …" if len(targets) > 12 else "")),
        ("Scenarios", str(len({r.scenario for r in results}))),
        ("Covered", f"{covered:,} of {words.plural(len(results), 'run')}"),
        ("Started", _clock(starts[0]) if starts else "unknown"),
        ("Time of all runs", measured(sum(number(r.duration) or 0.0 for r in results))),
        ("backupchaos", ", ".join(visible(v, 40) for v in versions) or __version__),
    ]
