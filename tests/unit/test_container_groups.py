"""What a container's agent reads of its own control group, in the layouts of both versions of the kernel's interface."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from backupchaos.environments.base import Controller
from backupchaos.environments.docker import keeping
from backupchaos.environments.docker.limits import NO_LIMIT, ContainerGroup

STAT = "anon 10\ninactive_file 300\nactive_file 200\n"
TWO = {
    "cgroup.controllers": "cpu memory pids\n",
    "memory.max": "67108864\n",
    "memory.current": "5000\n",
    "memory.stat": STAT,
    "memory.events": "low 0\nhigh 0\nmax 9\noom 2\noom_kill 3\n",
    "pids.max": "40\n",
    "pids.current": "4\n",
    "pids.events": "max 7\n",
    "cpu.max": "50000 100000\n",
    "cpu.stat": "usage_usec 1\nnr_periods 20\nnr_throttled 11\n",
}
ONE = {
    "memory/memory.limit_in_bytes": "67108864\n",
    "memory/memory.usage_in_bytes": "5000\n",
    "memory/memory.stat": STAT,
    "memory/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
    "pids/pids.max": "40\n",
    "pids/pids.current": "4\n",
    "pids/pids.events": "max 7\n",
    "cpu/cpu.cfs_quota_us": "50000\n",
    "cpu/cpu.stat": "nr_periods 20\nnr_throttled 11\nthrottled_time 5\n",
}
LIMITLESS = {
    1: {
        "memory/memory.limit_in_bytes": "9223372036854771712\n",
        "pids/pids.max": "max\n",
        "cpu/cpu.cfs_quota_us": "-1\n",
    },
    2: {"memory.max": f"{NO_LIMIT}\n", "pids.max": "max\n", "cpu.max": "max 100000\n"},
}
"""As the kernel has it after the engine was told that there is none."""
SEEN: dict[Controller, tuple[float, int, int]] = {
    "memory": (67108864, 3, 4500),
    "pids": (40, 7, 4),
    "cpu": (0.5, 11, 0),
}
"""Controller -> (limit, hits, in use)."""


@pytest.fixture(params=[1, 2])
def version(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(keeping, "GROUPS", str(tmp_path))
    write(tmp_path, ONE if request.param == 1 else TWO)
    return int(request.param)


def write(top: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        (top / name).parent.mkdir(exist_ok=True)
        (top / name).write_text(text, "ascii")


def told(controller: str) -> dict[str, Any]:
    return keeping.ContainerServer.do_group(cast(Any, None), {"controller": controller}, [])


@pytest.mark.parametrize("controller", SEEN)
def test_both_versions_tell_the_same(version: int, controller: Controller) -> None:
    limited, hits, used = SEEN[controller]
    assert told(controller) == {
        "mechanism": f"cgroup v{version} {controller}",
        "limited": limited,
        "hits": hits,
        "used": used,
    }


@pytest.mark.parametrize("controller", SEEN)
def test_no_limit_is_none_in_both(version: int, controller: Controller, tmp_path: Path) -> None:
    write(tmp_path, LIMITLESS[version])
    assert told(controller)["limited"] is None


def test_a_controller_that_the_user_was_not_given(version: int, tmp_path: Path) -> None:
    (tmp_path / ("pids.max" if version == 2 else "pids/pids.max")).unlink()
    with pytest.raises(OSError, match="No such file"):
        told("pids")


class Engine:
    """Takes requests to change limits, as the engine's API does, which knows no version."""

    id = "c0ffee"

    def __init__(self) -> None:
        self.asked: list[dict[str, int]] = []
        self.client = SimpleNamespace(api=self)

    def _url(self, path: str, *_: object) -> str:
        return path

    def _post_json(self, _: str, data: dict[str, int]) -> None:
        self.asked.append(data)

    def _raise_for_status(self, _: object) -> None: ...


@pytest.mark.needs("python:docker")
@pytest.mark.parametrize(
    ("controller", "value", "expected"),
    [
        ("memory", 1000, {"Memory": 5500, "MemorySwap": 5500}),
        ("pids", 10, {"PidsLimit": 14}),
        ("cpu", 0.25, {"CpuPeriod": 100_000, "CpuQuota": 25_000}),
    ],
)
def test_the_engine_is_asked_for_the_same(
    version: int, controller: Controller, value: float, expected: dict[str, int]
) -> None:
    engine = Engine()
    group = ContainerGroup(engine, lambda: told(controller), controller)
    group.limit(value)
    assert engine.asked[-1] == expected
    assert group.mechanism == f"cgroup v{version} {controller}, of the container"
