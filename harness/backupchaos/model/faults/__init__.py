"""The vocabulary of faults as the scenario author writes it: ``{network.down: repository, for: 5s}``.

Each kind is one model whose place carries the kind as its YAML key. The mechanisms behind
them live in ``backupchaos.faults``; this package only says what can be asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Union

from pydantic import Discriminator, Tag

from backupchaos.model.faults import files, network, processes, repository, service, storage
from backupchaos.model.faults.base import FaultSpec, Pick, Signal

KINDS: dict[str, type[FaultSpec]] = {
    spec.kind: spec
    for layer in (network, storage, files, processes, repository, service)
    for spec in layer.KINDS
}


def _which(value: Any) -> str | None:
    if isinstance(value, FaultSpec):
        return value.kind
    if isinstance(value, dict):
        found = [key for key in value if key in KINDS]
        return found[0] if len(found) == 1 else None
    return None


if TYPE_CHECKING:
    AnyFault = FaultSpec
else:  # one member of the union for each kind there is
    AnyFault = Annotated[
        Union[tuple(Annotated[spec, Tag(kind)] for kind, spec in KINDS.items())],  # noqa: UP007
        Discriminator(
            _which, custom_error_type="fault_kind", custom_error_message="expected exactly one fault kind"
        ),
    ]

__all__ = ["KINDS", "AnyFault", "FaultSpec", "Pick", "Signal"]
