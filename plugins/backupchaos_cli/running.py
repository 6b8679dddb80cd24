"""``backupchaos run``."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

import backupchaos_scenarios
from backupchaos.engine import guard
from backupchaos.engine.choosing import check_repository, idle_servers
from backupchaos.engine.options import new_seed
from backupchaos.errors import UsageProblem
from backupchaos.results import RunResult, Verdict, load_result
from backupchaos.services.servers import chosen
from backupchaos.session.capabilities import gap, look
from backupchaos.session.console import Console, style_for
from backupchaos.session.overrides import with_overrides
from backupchaos.session.progress import defused
from backupchaos.session.refined import misspelt
from backupchaos.session.requirable import check_capabilities
from backupchaos.session.runner import NotCovered, Order, Session
from backupchaos.session.selection import Selected, select
from backupchaos.session.settings import Settings, check_report
from backupchaos.targets.base import Target
from backupchaos.targets.registry import resolve_target
from backupchaos_cli.console import colour, columns, flush, mark, say

SERVICE = "--service"


def main(options: argparse.Namespace) -> int:
    """Run, tell, report; the exit code says how it went."""
    here = Path.cwd()
    selected = select(options.scenario, backupchaos_scenarios, here, project=here)
    target = resolve_target(options.target)
    seed = new_seed() if options.seed is None else options.seed
    settings = Settings(
        runs=options.results / "runs",
        seed=seed,
        env=options.env,
        keep=options.keep,
        link=options.link,
        require=frozenset(options.require),
        allow=guard.check_words(options.allow, "--allow"),
        pull=options.pull,
        remote_docker=options.allow_remote_docker,
        servers=chosen(options.service, SERVICE),
    )
    check_capabilities(options.require, "--require", [target])
    orders = list(_orders(options, selected, target, seed))
    check_repository(options.repository or "", target, "--repository")
    for order in orders:  # all of them before the first
        guard.check(order.scenario, settings.allow, settings.allow_option)
    for line in idle_servers(settings.servers, [(one.scenario, one.target) for one in orders], SERVICE):
        raise UsageProblem(line)
    session = Session(settings)
    if options.dry_run:
        return _plan(session, orders)
    report = options.report or options.results / "report.html"
    check_report(report, "--report" if options.report else "the report", anywhere=not options.report)
    for line in misspelt([target], [*backupchaos_scenarios.names(), *(one.name for one in selected)]):
        say(line)
    say(f"target {target.name}, {len(orders)} {'run' if len(orders) == 1 else 'runs'}, seed {seed}")
    flush()
    required, begun = False, 0
    try:
        for order in orders:
            begun += 1
            required |= _one(session, order, quiet=options.quiet)
    finally:
        if begun < len(orders):
            say(f"{len(orders) - begun} of {len(orders)} runs were never started")
        results = [load_result(path / "results.json") for path in session.directories]
        if results:
            _finish(session, results, report)
    return 1 if required else exit_code(results)


def _orders(
    options: argparse.Namespace, selected: Sequence[Selected], target: Target, seed: int
) -> Iterator[Order]:
    for one in selected:
        scenario = with_overrides(one.scenario, Path.cwd(), repository=options.repository)
        for turn in range(options.repeat):
            words = ["backupchaos", "run", one.spec, f"--target={options.target}", f"--seed={seed + turn}"]
            words += [f"--repository={options.repository}"] if options.repository else []
            words += [f"{SERVICE}={name}" for name in options.service]
            words += [f"--allow={entry}" for entry in (scenario.allow.entries() if scenario.allow else ())]
            words += [
                f"--{name}={value}" for name in ("env", "link") if (value := getattr(options, name)) != "auto"
            ]
            file = str(one.file) if one.file else None
            yield Order(scenario, target, file, shlex.join(words), seed + turn)


def _plan(session: Session, orders: Sequence[Order]) -> int:
    here = look(session.environment())
    rows = []
    for order in orders:
        why = gap(order.scenario, order.target, here, session.settings.servers)
        rows.append(
            (mark(not why), order.scenario.scenario, f"seed {order.seed}", why or order.scenario.title)
        )
    for line in columns(rows):
        say(line)
    able = sum(able == mark(True) for able, *_ in rows)
    say(f"{able} of {len(orders)} runs can be made here ({here.mechanism}); nothing was run")
    return 0


def _one(session: Session, order: Order, *, quiet: bool) -> bool:
    """Make one run and tell of it; True if something was missing that is required."""
    from backupchaos_reports import table

    console = Console(2, style_for(2, quiet=quiet))
    try:
        with console.follow(f"{order.target.name} × {order.scenario.scenario}") as progress:
            run = session.run(order, progress)
    except NotCovered as missing:
        word = "required, but missing" if missing.required else "skipped"
        say(f"{'✗' if missing.required else '-'} {order.scenario.scenario}: {word}: {missing}")
        flush()
        return missing.required
    result = run.result
    if result.verdict is Verdict.PASS:
        say(f"{table.paint(table.badge(result.verdict), result.verdict, colour())}  {table.title(result)}")
        say(defused(table.expectations_table(result.checks, colour=colour())))
    else:
        say(defused(table.failure_text(result, colour=colour())))
    say(f"stored in {run.directory}\n")
    flush()
    return False


def _finish(session: Session, results: Sequence[RunResult], report: Path) -> None:
    from backupchaos_reports.html import load_runs, write_report
    from backupchaos_reports.table import summary

    try:
        write_report(load_runs(session.directories), report)
    except OSError as error:
        raise UsageProblem(f"{report}: the report cannot be written: {error.strerror}") from None
    for line in summary(results, report=str(report)):
        say(line)
    bad = next((result for result in results if result.verdict is not Verdict.PASS), None)
    if bad is not None:
        say(f"replay: {bad.reproduce}")


def exit_code(results: Sequence[RunResult]) -> int:
    """1 if one failed, else 2 if one could not be judged or none was made, else 0."""
    verdicts = {result.verdict for result in results}
    if Verdict.FAIL in verdicts:
        return 1
    if verdicts & {Verdict.UNVERIFIED, Verdict.INVALID} or Verdict.PASS not in verdicts:
        return 2
    return 0
