"""``backupchaos lint``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from backupchaos.errors import UsageProblem
from backupchaos.model.loader import Problem, ScenarioErrors, load_scenario
from backupchaos.session.selection import SUFFIX
from backupchaos_cli.console import say

BAD = 1


def main(options: argparse.Namespace) -> int:
    """All problems of all files; 1 if there is one."""
    files = list(_files(options.files))
    problems = [problem for file in files for problem in check(file)]
    if options.format == "json":
        say(json.dumps([_plain(problem) for problem in problems], indent=1, ensure_ascii=False))
    elif options.format == "github":
        for problem in problems:
            say(annotation(problem))
    else:
        for problem in problems:
            say(f"{problem}\n")
        counted = "1 file" if len(files) == 1 else f"{len(files)} files"
        found = "1 problem" if len(problems) == 1 else f"{len(problems) or 'no'} problems"
        say(f"{counted} checked, {found}")
    return BAD if problems else 0


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        inside = sorted(path.rglob(f"*{SUFFIX}"))
        if not inside:
            raise UsageProblem(f"{path}: there is no *{SUFFIX} file in this folder")
        yield from inside


def check(file: Path) -> Sequence[Problem]:
    """The problems of one file."""
    try:
        load_scenario(file)
    except ScenarioErrors as errors:
        return errors.problems
    return ()


def _plain(problem: Problem) -> dict[str, object]:
    names = ("file", "line", "column", "code", "message", "hint")
    return {name: getattr(problem, name) for name in names}


def annotation(problem: Problem) -> str:
    """A workflow command; data and properties are escaped as GitHub asks for."""

    def data(text: str) -> str:
        return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")

    def value(text: str) -> str:
        return data(text).replace(":", "%3A").replace(",", "%2C")

    where = f"file={value(problem.file)}"
    if problem.line:
        where += f",line={problem.line},col={problem.column}"
    text = f"{problem.message} {problem.hint}".strip()
    return f"::error {where},title={value(problem.code)}::{data(text)}"
