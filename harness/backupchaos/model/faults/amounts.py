"""The least that a value must be to be felt, said in the units that people write."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from backupchaos.model.words import Mistake
from backupchaos.units import Duration, Percent, Size


def at_least(least: float, words: str, sample: str) -> AfterValidator:
    """Refuse what is less; ``words`` is the bound and ``sample`` a usual value, as in a file."""

    def check(value: float) -> float:
        if value >= least:
            return value
        raise Mistake(f"expected at least {words}", code="zero", hint=f"Write such as {sample}.")

    return AfterValidator(check)


def _some(value: float) -> float:
    if value > 0:
        return value
    raise Mistake("a share of nothing is no fault", code="zero", hint="Write such as 5%.")


Share = Annotated[Percent, AfterValidator(_some)]
Felt = Annotated[Duration, at_least(0.001, "1ms", "200ms")]
"""A delay of microseconds is what every call takes anyway: whoever met it has met nothing."""
SomeBytes = Annotated[Size, at_least(1, "1B", "64KiB")]
