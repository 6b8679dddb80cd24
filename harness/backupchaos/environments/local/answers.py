"""How a request of the harness can end other than with its answer."""

from __future__ import annotations


class Pending:
    """The answer comes later."""


class Refused(Exception):
    """A request that cannot be met; ``kind`` names the exception that the harness side raises."""

    def __init__(self, kind: str, text: str, number: int = 0) -> None:
        super().__init__(text)
        self.kind, self.number = kind, number
