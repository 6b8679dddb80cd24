"""Which tests run: those that use the fixture, and the selected scenarios themselves."""

from __future__ import annotations

import ast
import inspect
import os
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from backupchaos.errors import UsageProblem
from backupchaos.session.selection import Selected, select
from pytest_backupchaos.items import Builtins, ScenarioItem
from pytest_backupchaos.plugin import FIXTURE, MARKER, OPTIONS
from pytest_backupchaos.state import State, state_of


@dataclass(frozen=True)
class Choice:
    """What one test was told to run; ``None`` where the test or the default decides."""

    selected: Selected | None
    target: str | None
    from_option: bool = False

    @property
    def id(self) -> str:
        """``network_loss``, ``network_loss-restic`` or ``restic``."""
        parts = [self.selected.name if self.selected else "", target_id(self.target) if self.target else ""]
        return "-".join(part for part in parts if part)


def target_id(name: str) -> str:
    """A target's name as a test id: the stem of a file, in ``[a-z0-9_-]``."""
    stem = Path(name).name.removesuffix(".yaml").removesuffix(".yml")
    return "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "-" for c in stem.lower()) or "target"


def parametrize(metafunc: pytest.Metafunc) -> None:
    """Marker before option; a test whose calls all name their scenario is left to itself."""
    state = _state_if_wanted(metafunc.config)
    markers = list(metafunc.definition.iter_markers(MARKER))
    if state is None and not markers:
        targets: Sequence[str] = metafunc.config.stash[OPTIONS].targets
        if len(targets) < 2:
            return
    state = state_of(metafunc.config)
    scenarios: list[Selected | None] = [None]
    from_option = False
    if markers:
        scenarios = [*_marked(markers, metafunc, state)]
    elif state.options.scenarios and not names_its_own(metafunc.function):
        scenarios, from_option = [*state.selected], True
    targets = state.options.targets
    choices = [
        Choice(one, target if len(targets) > 1 else None, from_option)
        for one in scenarios
        for target in targets
    ]
    if choices != [Choice(None, None)]:
        metafunc.parametrize(FIXTURE, choices, indirect=True, ids=[choice.id for choice in choices])


def _state_if_wanted(config: pytest.Config) -> State | None:
    return state_of(config) if config.stash[OPTIONS].scenarios else None


def _marked(markers: Sequence[pytest.Mark], metafunc: pytest.Metafunc, state: State) -> list[Selected]:
    """The scenarios of the nearest marker; raises a collection error without a traceback."""
    import backupchaos_scenarios

    words = [os.fspath(word) for word in markers[0].args]
    try:
        if not words or markers[0].kwargs:
            raise UsageProblem(f"expected names or paths of scenarios: @pytest.mark.{MARKER}('disk_full')")
        base = metafunc.definition.path.parent
        return select(words, backupchaos_scenarios, base, project=state.options.root)
    except UsageProblem as problem:
        raise pytest.Collector.CollectError(
            f"{metafunc.definition.nodeid}: marker {MARKER}: {problem}"
        ) from None


def names_its_own(function: Callable[..., Any]) -> bool:
    """Every call of the fixture in the test's source gives a scenario, so that a selection would change nothing."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError, ValueError):
        return False
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and _is_fixture(n.func)]
    uses = [n for n in ast.walk(tree) if _is_fixture(n)]
    return bool(calls) and len(calls) == len(uses) and all(_explicit(call) for call in calls)


def _is_fixture(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id == FIXTURE


def _explicit(call: ast.Call) -> bool:
    return bool(call.args) or any(word.arg in {"scenario", "failure_mode", None} for word in call.keywords)


def uses_fixture(item: pytest.Item) -> bool:
    """The test uses the fixture, itself or through another one."""
    return FIXTURE in getattr(item, "fixturenames", ())


class Named:
    """The files and tests that were named on the command line; folders name nothing."""

    def __init__(self, config: pytest.Config) -> None:
        self.everything = bool(config.getoption("pyargs", False))
        self._entries: list[tuple[Path, str]] = []
        if config.args_source is not pytest.Config.ArgsSource.ARGS:
            self.everything = False
            return
        for argument in config.args:
            file, *names = str(argument).split("[", 1)[0].split("::")
            path = Path(config.invocation_params.dir, file)
            if names or path.is_file():
                rest = "::".join(str(argument).split("::")[1:])
                self._entries.append((Path(os.path.abspath(path)), rest))

    def __bool__(self) -> bool:
        return self.everything or bool(self._entries)

    def file(self, path: Path) -> bool:
        """Something in this file was named."""
        return self.everything or any(entry == path for entry, _ in self._entries)

    def item(self, item: pytest.Item) -> bool:
        """This very test was named, or its file, or its class."""
        own = item.nodeid.partition("::")[2]
        return self.everything or any(
            path == item.path and (not rest or own == rest or own.startswith((f"{rest}::", f"{rest}[")))
            for path, rest in self._entries
        )


def choose(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect what has nothing to do with the selection, and put the selected scenarios in front.

    A selection in an ini file deselects nothing. Where files or tests are named on the command line, the
    scenarios themselves are added only if none of these would run them.
    """
    state, named = state_of(config), Named(config)
    kept = items
    if state.options.selecting:
        kept = [item for item in items if _wanted(item, state, named)]
        dropped = [item for item in items if not _wanted(item, state, named)]
        state.deselected = len(dropped)
        if dropped:
            config.hook.pytest_deselected(items=dropped)
    if named and (not state.options.selecting or any(_takes_selection(item) for item in kept)):
        items[:] = kept
        return
    present = {item.selected.file for item in kept if isinstance(item, ScenarioItem)}
    missing = [one for one in state.selected if one.file is None or one.file not in present]
    items[:] = [*_own_items(session, missing, state.options.targets), *kept]


def _wanted(item: pytest.Item, state: State, named: Named) -> bool:
    if isinstance(item, ScenarioItem):
        chosen = any(one.file is not None and one.file == item.selected.file for one in state.selected)
        return chosen or named.item(item)
    return uses_fixture(item) or named.item(item)


def _takes_selection(item: pytest.Item) -> bool:
    if isinstance(item, ScenarioItem):
        return True
    callspec = getattr(item, "callspec", None)
    choice = callspec.params.get(FIXTURE) if callspec is not None else None
    return isinstance(choice, Choice) and choice.from_option


def _own_items(
    session: pytest.Session, selected: Sequence[Selected], targets: Sequence[str]
) -> list[pytest.Item]:
    if not selected:
        return []
    node = Builtins.from_parent(
        session, name="backupchaos", nodeid="backupchaos", path=session.config.rootpath
    )
    node.wanted = [(one, target) for one in selected for target in targets]
    return list(session.genitems(node))


def forgive(collector: pytest.Collector, report: pytest.CollectReport) -> None:
    """Take back the failure of a module that does not mention the fixture and was not named."""
    if not isinstance(collector, pytest.Module) or isinstance(collector, Builtins):
        return
    path = collector.path
    if path.suffix != ".py" or Named(collector.config).file(path):
        return
    try:
        if FIXTURE.encode() in path.read_bytes():
            return
    except OSError:
        return
    report.outcome = "passed"
    report.longrepr = None
    report.result = []
    state_of(collector.config).forgiven.append(os.path.relpath(path, collector.config.rootpath))
