"""What a link costs: a bare socket, the real Toxiproxy and the embedded one, in one run.

Rounds are interleaved, figures are medians, and each is also given as a ratio to the real server's. Every route is
measured with the same clients and servers, which are processes of their own. The rows with ``tap`` are as the harness
uses links: with the event log, which this process reads. Without ``toxiproxy-server`` on PATH ratios are to the bare
socket. ``python benchmarks/links.py [--rounds N] [--scale SHARE] [--only WORD]``, from the checkout.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.routes import Embedded, Harness, Route, Servers, Toxiproxy, traffic

from backupchaos.links import realserver

MB = 1e6


class Row(NamedTuple):
    """One figure of the table: what to measure, its unit, and what one unit is."""

    title: str
    unit: str
    one: float
    measure: Callable[[Route, float], dict[str, float]]
    keys: tuple[str, ...]
    bare: bool = True
    ratio: bool = True


def _size(scale: float) -> int:
    return int(1024 * scale) << 20


def _count(scale: float) -> int:
    return int(4096 * scale)


def _down(route: Route, scale: float) -> dict[str, float]:
    return traffic(route, "down", route.ports["source"], _size(scale))


def _up(route: Route, scale: float) -> dict[str, float]:
    return traffic(route, "up", route.ports["sink"], _size(scale))


def _trips(route: Route, scale: float) -> dict[str, float]:
    return traffic(route, "trips", route.ports["echo"], int(10_000 * scale))


def _connections(at_once: int) -> Callable[[Route, float], dict[str, float]]:
    def measure(route: Route, scale: float) -> dict[str, float]:
        return traffic(route, "connections", route.ports["echo"], _count(scale), at_once)

    return measure


def _processor(
    measure: Callable[[Route, float], dict[str, float]], amount: Callable[[float], int]
) -> Callable[[Route, float], dict[str, float]]:
    """What the link itself spends, which other work on the machine changes least."""

    def spent(route: Route, scale: float) -> dict[str, float]:
        before = route.processor()
        measure(route, scale)
        return {"cost": (route.processor() - before) / amount(scale)}

    return spent


def _latency(ms: int) -> Callable[[Route, float], dict[str, float]]:
    def measure(route: Route, scale: float) -> dict[str, float]:
        port = route.poisoned("echo", "latency", {"latency": ms})
        found = traffic(route, "trips", port, max(10, int(2000 * scale / ms)))
        return {key: found[key] for key in ("mean", "sd")}

    return measure


def _bandwidth(rate: int) -> Callable[[Route, float], dict[str, float]]:
    def measure(route: Route, scale: float) -> dict[str, float]:
        port = route.poisoned("source", "bandwidth", {"rate": rate})
        return traffic(route, "pace", port, max(1, int(2 * scale)))

    return measure


ROWS = (
    Row("download", "MB/s", MB, _down, ("rate",)),
    Row("upload", "MB/s", MB, _up, ("rate",)),
    Row("64 B echo", "us", 1e-6, _trips, ("p50", "p99")),
    Row("connections, 1 at a time", "/s", 1, _connections(1), ("rate",)),
    Row("connections, 32 at a time", "/s", 1, _connections(32), ("rate",)),
    Row("processor, download", "s/GB", 1e-9, _processor(_down, _size), ("cost",), bare=False),
    Row("processor, upload", "s/GB", 1e-9, _processor(_up, _size), ("cost",), bare=False),
    Row("processor, a connection", "us", 1e-6, _processor(_connections(1), _count), ("cost",), bare=False),
    *(
        Row(f"latency {ms} ms", "ms", 1e-3, _latency(ms), ("mean", "sd"), bare=False, ratio=False)
        for ms in (1, 10, 100)
    ),
    *(
        Row(f"bandwidth {rate} KB/s", "KB/s", 1e3, _bandwidth(rate), ("rate",), bare=False, ratio=False)
        for rate in (1000, 100_000)
    ),
)


def routes(servers: Mapping[str, int]) -> list[Route]:
    """Those that can be had here, the real server's first after the bare one."""
    made = [Route(servers), Embedded(servers), Harness(servers, "embedded")]
    if realserver.find(required=False):
        made.insert(1, Toxiproxy(servers))
        made.append(Harness(servers, "toxiproxy"))
    else:
        print("toxiproxy-server is not on PATH: ratios are to the bare socket")
    return made


def _figure(values: list[float], one: float) -> str:
    low, middle, high = min(values) / one, statistics.median(values) / one, max(values) / one
    digits = 0 if middle >= 1000 else 1 if middle >= 10 else 2
    return f"{middle:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def measure(ways: list[Route], rounds: int, scale: float, only: str) -> None:
    """Row by row; in each round every route has its turn."""
    against = ways[1 if ways[1].name == "toxiproxy" else 0]
    for row in ROWS:
        if only not in row.title:
            continue
        taking = [way for way in ways if row.bare or way.name != "bare"]
        samples: dict[str, dict[str, list[float]]] = {
            way.name: {key: [] for key in row.keys} for way in taking
        }
        for _ in range(rounds):
            for way in taking:
                for key, value in row.measure(way, scale).items():
                    if key in row.keys:
                        samples[way.name][key].append(value)
        for key in row.keys:
            for way in taking:
                values = samples[way.name][key]
                ratio = ""
                if row.ratio and against in taking:
                    ratio = (
                        f"{statistics.median(values) / statistics.median(samples[against.name][key]):6.2f}"
                    )
                title = f"{row.title}, {key}" if len(row.keys) > 1 else row.title
                print(
                    f"{title:28}{way.name:18}{_figure(values, row.one):>28} {row.unit:5}{ratio}", flush=True
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the usual amount of traffic")
    parser.add_argument("--only", default="", help="rows whose title has this word")
    chosen = parser.parse_args()
    servers = Servers()
    ways: list[Route] = []
    try:
        ways = routes(servers.ports)
        before = [way.memory() for way in ways]
        measure(ways, chosen.rounds, chosen.scale, chosen.only)
        for way, was in zip(ways, before, strict=True):
            if way.pids:
                print(
                    f"{'memory before, after':28}{way.name:18}{was / MB:>17.1f}, {way.memory() / MB:.1f} MB"
                )
    finally:
        for way in ways:
            way.close()
        servers.close()


if __name__ == "__main__":
    main()
