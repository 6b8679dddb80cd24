"""An engine without sandbox and tools: canned runs, stored and told like real ones.

Each verdict comes from the variable FAKE_VERDICTS (``disk_full=fail,normal=pass``; default pass), what is
missing from FAKE_MISSING (``network_loss=volumes``), and FAKE_HANG names a scenario that waits for a signal.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

from backupchaos.engine.options import RunOptions
from backupchaos.engine.run import Run
from backupchaos.errors import MissingCapability
from backupchaos.history import History
from backupchaos.results import CheckResult, RunResult, Verdict

calls: list[tuple[str, str, Any, RunOptions]] = []
"""(scenario, target, the scenario itself, options) of each run in this process."""


def table(name: str) -> dict[str, str]:
    """A variable of the form ``a=b,c=d``."""
    return dict(pair.split("=") for pair in os.environ.get(name, "").split(",") if pair)


class FakeSandbox:
    name, mechanism = "fake", "no isolation"
    capabilities = frozenset({"volumes", "network", "syscalls", "processes"})

    def close(self) -> None:
        """Nothing to end."""


class FakeEnvironment:
    name = "fake"

    def probe(self) -> Mapping[str, str]:
        return {**dict.fromkeys((*FakeSandbox.capabilities, "image"), ""), **table("FAKE_LACKING")}

    def sandbox(self, sizes: object, *, expose: object = ()) -> FakeSandbox:
        return FakeSandbox()


def make_environment(name: str, **options: Any) -> Any:
    """The fake; other words are answered as they really are."""
    from backupchaos.session import settings

    return FakeEnvironment() if name in {"auto", "local"} else settings.make_environment(name, **options)


def run_scenario(scenario: Any, target: Any, options: RunOptions) -> Run:
    """Stored and told like a real run."""
    name = scenario.scenario
    calls.append((name, target.name, scenario, options))
    if missing := table("FAKE_MISSING").get(name):
        raise MissingCapability(missing, "not in this fake", "buy a real one")
    verdict = Verdict(table("FAKE_VERDICTS").get(name, "pass"))
    run_id = f"{len(calls)}-{os.getpid()}-{target.name}-{name}"
    history = History(options.results / run_id / "history.jsonl")
    if options.progress is not None:
        history.listen(options.progress)
    history.append("phase", name="control")
    history.append(
        "fault",
        name="cut",
        fault="network.down",
        status="applied",
        mechanism="fake",
        detail="\x1b[2Jcut ##[error]x",
    )
    if os.environ.get("FAKE_HANG") == name:
        print("hanging", flush=True)
        (options.results / "hanging").touch()
        time.sleep(60)  # ended by the signal that the test sends
    history.append("job.end", job="fault", outcome="success", returncode=0, timed_out=False, hung=False)
    check = CheckResult(
        "honest", "what it claims can be restored", "equal to the source", f"seen by {name}", verdict
    )
    result = RunResult(
        run_id=run_id,
        scenario=name,
        title=scenario.title,
        target=target.name,
        target_version="1.0",
        repository="local directory",
        envelope=scenario.envelope,
        seed=options.seed,
        verdict=verdict,
        headline=f"{target.name} × {name}: {verdict.value.upper()} ##[error]x",
        explanation=f"The job of {name} said success.",
        outcome="success",
        checks=(check,),
        severity="data_loss" if verdict is Verdict.FAIL else "none",
        scenario_file=options.scenario_file,
        reproduce=options.reproduce,
    )
    result.save(options.results / run_id / "results.json")
    (options.results / run_id / "job.log").write_text("", "utf-8")
    events = tuple(history.events)
    history.close()
    return Run(result, events, options.results / run_id)


def install(patch: Any) -> None:
    """Put the fakes in place with a ``setattr(module, name, value)``."""
    from backupchaos.engine import run
    from backupchaos.session import runner

    calls.clear()
    patch(run, "run_scenario", run_scenario)
    patch(runner, "make_environment", make_environment)
