"""Retries that a job announces must be made: they are looked for at the link that was cut.

What announces one the target says (``log.retry``, or its adapter). Where it does not, lines are looked for that sound
like it; since that is a guess, such a line is never held against the job: if the link saw nothing of
it, the row is unverified.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from backupchaos.checks.case import Case
from backupchaos.checks.heard import since_the_faults, unusual
from backupchaos.checks.rows import AS_DECLARED, row
from backupchaos.history import Event
from backupchaos.results import CheckResult, Evidence, Retry, Verdict

ONE_QUESTION = 0.1
"""Seconds: a resolver asks for addresses of both sorts at once, and repeats itself."""
CUTS = (
    "network.down",
    "network.flap",
    "network.reset",
    "network.cut_after",
    "service.kill",
    "service.restart",
)
"""Faults after which a retry is a new connection."""
_PAUSE = r"(?:about |~ ?)?[0-9]"
_THEN = rf" (?:in|after) {_PAUSE}| now\b|[.…!:,;]+(?:\s|$)| ?\(|\s*$"
_NOT = r"(?<![/\w-])(?<!\bnot )(?<!n't )(?<!\bno )(?<!\bnever )(?<!\bwithout )(?<!\bof )(?<!\bto )(?<!\bstopped )(?<!\bplease )"
SOUNDS = re.compile(
    "|".join(
        (
            rf"{_NOT}\bretrying\b(?={_THEN}| again\b)",
            rf"{_NOT}\btrying again\b",
            rf"\bwill (?:now )?(?:retry|try again)\b(?={_THEN})",
            r"\b(?:waiting|wait|sleeping|sleep|pausing)\b[^.]{0,40}\b(?:to try again|to retry|before (?:the )?(?:next )?retry)\b",
            r"\bretry(?: attempt| number|:)? ?#? ?[1-9][0-9]*(?: ?/ ?| of | out of )[0-9]+",
            rf"\bretry #?[1-9][0-9]*(?=: | in {_PAUSE})",
            r"\battempt(?: number)? ?#? ?(?:[2-9]|[1-9][0-9]+)(?: ?/ ?| of | out of )[0-9]+",
        )
    ),
    re.IGNORECASE,
)
"""Another attempt is announced, or counted. Advice, settings, sums and denials have other forms: *retrying may help*, *please
try again*, *--retries 3*, *0 retries*, *not retrying*, *attempt 1 of 3*."""


def _as_it_sounds(case: Case, cut: Sequence[str]) -> list[CheckResult]:
    """What the control job wrote as well announces nothing; nor does what was written before the link was cut."""
    names = {name for name, fault in case.scenario.faults.items() if fault.kind in CUTS}
    records = [event for event in case.logs() if SOUNDS.search(event["text"])]
    heard = unusual(case, since_the_faults(case, records, names))
    heard = heard[len(case.retries("syscall")) :]
    if not heard or not case.of("link"):
        return []
    found = _reaches_the_link(case, cut, [Retry(event.t, "log", event["text"]) for event in heard])
    if found.verdict is Verdict.PASS:
        return [found]
    reason = (
        f"{len(heard)} lines sound like retries, the first: {heard[0]['text'][:120]!r}. Which lines announce one the target "
        "does not say: write 'log: {retry: PATTERN}' in its file"
    )
    evidence = [Evidence(f"log: {event['text']}"[:200], (event.seq,), event.t) for event in heard[:20]]
    return [replace(found, verdict=Verdict.UNVERIFIED, reason=reason, evidence=tuple(evidence))]


def retries_are_real(case: Case, seen: list[Retry]) -> list[CheckResult]:
    """A job that says it retries over a broken link must be seen knocking, at that very link if it names one.

    What it tried again at a file, as the supervisor saw, is not looked for there.
    """
    cut = list(dict.fromkeys(f.on_link for f in case.scenario.faults.values() if f.kind in CUTS))
    claimed = _not_at_files(case, [retry for retry in seen if retry.source == "log"])
    if cut and not claimed and not case.profile.knows_retries:
        return _as_it_sounds(case, cut)
    if not cut or not claimed or not case.of("link"):
        return []
    if all(retry.link for retry in claimed):
        groups = [([place], [r for r in claimed if r.link == place]) for place in cut]
    else:
        groups = [(cut, claimed)]
    return [_reaches_the_link(case, places, mine) for places, mine in groups if mine]


def _not_at_files(case: Case, claimed: list[Retry]) -> list[Retry]:
    """Without as many of those that name no link as there were calls on files that were refused again."""
    seen = len(case.retries("syscall"))
    nameless = [retry for retry in claimed if not retry.link][:seen]
    return [retry for retry in claimed if retry not in nameless]


def _reaches_the_link(case: Case, places: Sequence[str], claimed: Sequence[Retry]) -> CheckResult:
    # Only while the job ran: lists and restores come over the same link afterwards. Refused connects are counted a moment
    # later, and asked for once more before the end is written down. And only from the blow on: a job that is cut at once
    # has made its very first connection just before it retries.
    end = case.end()
    ended = end.t if end is not None else claimed[-1].t
    begun = max(claimed[0].t - 1.0, _first_blow(case, places))
    during = [
        event
        for event in case.of("link")
        if begun <= event.t
        and (event.t <= ended or (end is not None and event["ev"] == "refused" and event.seq < end.seq))
    ]
    came = [e for e in during if e["ev"] in {"open", "refused"} and e.get("link", places[0]) in places]
    strangers = sum(_count(event) for event in came if "strangers" in event.data)
    knocks = sum(map(_count, came)) - strangers + _asked_in_vain(during, places)
    enough = knocks * 2 >= len(claimed)
    unsure = not enough and (knocks + strangers) * 2 >= len(claimed)
    whose = f" to the {' or the '.join(places)}" if case.scenario.services else ""
    return row(
        "retries_real",
        f"announced retries reach the link{whose}",
        f"about {len(claimed)} new connections or refusals",
        f"{knocks}" + (f", and {strangers} refusals that may be strangers'" if strangers else ""),
        None if unsure else enough,
        law=AS_DECLARED,
        reason="on a network that is shared nobody can tell whose connects were refused" if unsure else "",
    )


def _count(event: Event) -> int:
    return int(event.get("count", 1))


def _first_blow(case: Case, places: Sequence[str]) -> float:
    """When the first of the faults that cut these links was being brought into force."""
    cuts = {
        name for name, fault in case.scenario.faults.items() if fault.kind in CUTS and fault.on_link in places
    }
    times = [event.t for event in case.of("fault") if event["name"] in cuts]
    return min(times, default=float("-inf"))


def _asked_in_vain(during: Sequence[Event], places: Sequence[str]) -> int:
    """Attempts that got no further than to ask for the link's name: several questions at once are one."""
    asked = sorted(
        event.t
        for event in during
        if event["ev"] == "name" and event.get("cause") and event["type"] in {"A", "AAAA"}
        if event["name"].partition(".")[0] in places
    )
    return sum(1 for before, t in pairwise([float("-inf"), *asked]) if t - before > ONE_QUESTION)
