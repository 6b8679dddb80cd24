"""Records that name every cause there is, and so none: 'check the space, the permissions, the network and the password'.

Such a line is printed whatever went wrong. Whoever reads it in the morning knows as much as before.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from backupchaos.history import Event

_TROUBLES = tuple(
    re.compile(words, re.IGNORECASE)
    for words in (
        r"\bspace\b|disk (is |was )?full|\bquota",
        r"permission|access (is |was )?denied|not permitted",
        r"\bconnect|\bnetwork|unreachable|\bno route",
        r"tim(ed?|ing)[ -]?out",
        r"\bmemory\b",
        r"too many open|descriptor",
        r"read-?only",
        r"input/output|\bi/o error",
        r"\block(s|ed)?\b",
        r"\bsignal\b|\bkilled\b|\bSIG[A-Z]{3,4}\b",
        r"password|credential|authenti",
        r"no such file|\bmissing\b|not found|not mounted",
    )
)
IN_ONE = 4
"""Troubles in one record from which on it is a list of guesses; a refused login of ssh is known to name three."""
IN_ALL = 8
"""In all records of error together: nobody meets so many in one job."""


def _named(text: str) -> set[int]:
    return {n for n, words in enumerate(_TROUBLES) if words.search(text)}


def without_guesses(records: Sequence[Event]) -> list[Event]:
    """The records that can name a cause."""
    errors = [_named(event["text"]) for event in records if event["level"] == "error"]
    if len(set[int]().union(*errors)) >= IN_ALL:
        records = [event for event in records if event["level"] != "error"]
    return [event for event in records if len(_named(event["text"])) < IN_ONE]
