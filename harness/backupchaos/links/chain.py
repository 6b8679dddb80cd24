"""Bringing a link's toxics and its live connections together.

A change touches only the stage concerned; the others keep their queues, counts and draws.
"""

from __future__ import annotations

from collections.abc import Iterator

from backupchaos.links import ending, timed
from backupchaos.links.connection import Connection
from backupchaos.links.flow import Flow
from backupchaos.links.stage import Stage
from backupchaos.links.tap import Tap
from backupchaos.links.toxics import Toxic

_STAGES: dict[str, type[Stage]] = {"noop": Stage, **timed.STAGES, **ending.STAGES}
_FLOW_OF = {"upstream": 0, "downstream": 1}


def equip(link: Tap, conn: Connection) -> None:
    """Give a new connection all stages."""
    for direction, toxics in link.toxics.items():
        for toxic in toxics:
            _append(conn.flows[_FLOW_OF[direction]], toxic)


def add(link: Tap, toxic: Toxic) -> None:
    """Append a toxic to the chain, for new connections and live ones."""
    link.toxics[toxic.direction].append(toxic)
    link.emit("toxic_add", toxic=toxic.describe())
    for flow in _flows(link, toxic):
        _append(flow, toxic)
        flow.update()


def patch(link: Tap, toxic: Toxic, attributes: dict[str, int], toxicity: float) -> None:
    """Change a toxic; live connections feel it at once."""
    toxic.attributes.update(attributes)
    toxic.toxicity = toxicity
    link.emit("toxic_patch", toxic=toxic.describe())
    for flow in _flows(link, toxic):
        for stage in flow.stages:
            if stage.toxic is toxic:
                stage.patched()
        if not flow.finished:
            flow.update()


def remove(link: Tap, toxic: Toxic) -> None:
    """Take a toxic out; what it held back goes on at once."""
    link.toxics[toxic.direction].remove(toxic)
    link.emit("toxic_del", toxic=toxic.describe())
    for flow in _flows(link, toxic):
        for index, stage in enumerate(flow.stages):
            if stage.toxic is toxic:
                del flow.stages[index]
                if index:
                    flow.stages[index - 1].out = stage.out
                stage.removed()
                stage.stop()
                break
        if not flow.finished:
            flow.update()


def find(link: Tap, name: str) -> Toxic | None:
    """The toxic of that name; names are unique over both streams."""
    return next((toxic for toxics in link.toxics.values() for toxic in toxics if toxic.name == name), None)


def _flows(link: Tap, toxic: Toxic) -> Iterator[Flow]:
    for conn in list(link.connections.values()):
        if conn.flows and not conn.closed:
            flow = conn.flows[_FLOW_OF[toxic.direction]]
            if not flow.finished:
                yield flow


def _append(flow: Flow, toxic: Toxic) -> None:
    stage = _STAGES[toxic.kind](toxic, flow)
    if flow.stages:
        flow.stages[-1].out = stage
    flow.stages.append(stage)
    stage.begin()
