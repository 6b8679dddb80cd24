"""What contradicts is in ``messages.txt``; here stands what looks like it and is fine."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from backupchaos.model.faults import KINDS
from backupchaos.model.loader import ScenarioErrors, load_scenario_text
from backupchaos.model.scenario import Scenario
from backupchaos.model.sense_together import FAMILIES

HEAD = "scenario: x\ntitle: t\n"
FINE = {
    "nothing": "",
    "three retries can grow": "expect: {backoff: growing, retries: 0..3}",
    "open range can grow": "expect: {backoff: growing, retries: 1..}",
    "either allows all": "envelope: either\nexpect: {outcome: [success, partial, failure]}",
    "failing partly": "envelope: must_fail_loudly\nfaults: {a: {disk.full: cache}}\nexpect: {outcome: partial}",
    "failing before running": "expect: {states: [PENDING, FAILED]}",
    "two rounds": "expect: {states: [PENDING, RUNNING, RETRYING, RUNNING, RETRYING, FAILED], retries: 2}",
    "retries may be none": "expect: {states: [PENDING, RUNNING, SUCCESS], retries: 0..3}",
    "partial may end either way": "expect: {states: [PENDING, RUNNING, SUCCESS], outcome: partial}",
    "within equals the deadline": "expect: {within: 2m}",
    "short deadline, default silence": "deadline: 30s",
    "real path with changes": "source: {path: /usr/share/doc, new: 1MiB, change: 1%}",
    "stdlib": "source: {path: '{stdlib}'}",
    "volume that just fits": "source: {size: 16MiB, new: 4MiB}\nvolumes: {source: 20MiB}",
    "survivable for a time": "envelope: must_survive\nfaults: {a: {network.down: repository, for: 5s}}",
    "survivable until": "envelope: must_survive\nfaults: {a: {network.down: repository, until: {attempt: 3}}}",
    "slow for ever": "envelope: must_survive\nfaults: {a: {network.slow: repository, rate: 1MiB/s}}",
    "down at the very end": "envelope: must_survive\nfaults: {a: {network.down: repository, when: {at: 100%}}}",
    "link on any repository": "repository: any\nfaults: {a: {network.down: repository}}",
    "same kind, other place": "faults: {a: {disk.full: cache}, b: {disk.full: temp}}",
    "damage at the start": "faults: {a: {repository.bitflip: repository, when: start}}",
    "damage on a state": "faults: {a: {repository.bitflip: repository, when: {state: RUNNING}}}",
    "kill after a time": "faults: {a: {process.kill: target, when: {after: 1s}}}",
    "attempt within retries": "expect: {retries: 0..2}\nfaults: {a: {disk.full: cache, when: {attempt: 3}}}",
    "attempt without a limit": "expect: {retries: 1..}\nfaults: {a: {disk.full: cache, when: {attempt: 99}}}",
    "changes alone are new data": "source: {new: 0B}\nfaults: {a: {disk.full: repository, when: {at: 50%}}}",
    "until later": "faults: {a: {disk.full: repository, when: {at: 50%}, until: {at: 60%}}}",
    "until of another sort": "faults: {a: {disk.full: repository, when: {at: 50%}, until: {after: 1s}}}",
    "slow until bytes": "faults: {a: {network.slow: repository, rate: 1MiB/s, until: {bytes: 1MiB}}}",
    "pause below silence": "faults: {a: {process.pause: target, when: {at: 50%}, for: 59s}}",
    "jitter as large as the delay": "faults: {a: {network.latency: repository, delay: 1s, jitter: 1s}}",
    "path of a damaged file": "faults: {a: {repository.delete: repository}}\nexpect: {log: [{matches: '{path}'}]}",
    "all files": "source: {files: 3}\nfaults: {a: {file.locked: source, files: 3}}",
    "many repository files": "source: {files: 3}\nfaults: {a: {repository.delete: repository, files: 9}}",
    "waived, rest expected": "waive: {clean: why, bounded: why}\nexpect: {within: 10s, restore: loud}",
    "a fault of a service leaves the repository where it is": (
        "repository: local\nservices: {catalog: redis}\nfaults: {a: {network.down: catalog}}"
    ),
    "the same fault on two links": (
        "services: {catalog: any}\nfaults: {a: {network.down: catalog}, b: {network.down: repository}}"
    ),
    "down until the repository has more": (
        "services: {catalog: any}\nfaults: {a: {network.down: catalog, until: {at: 80%}}}"
    ),
    "bytes of a service need no new data": (
        "source: {new: 0B, change: 0%}\nservices: {catalog: any}\n"
        "faults: {a: {network.reset: catalog, when: {bytes: 100B}}}"
    ),
    "one over before the other": "faults: {a: {disk.full: cache, for: 5s}, b: {disk.full: cache, when: {after: 5s}, for: 1s}}",
    "the same, turned round": "faults: {b: {disk.full: cache, when: {after: 5s}, for: 1s}, a: {disk.full: cache, for: 5s}}",
    "over before, by what both count": "faults: {a: {network.slow: repository, rate: 1MiB/s}, "
    "b: {network.flap: repository, until: {attempt: 2}}, c: {network.down: repository, when: {attempt: 2}, for: 1s}}",
    "two blows": "faults: {a: {process.kill: target, who: helper, when: {at: 20%}}, b: {process.kill: target, when: {at: 60%}}}",
    "other families of one volume": "faults: {a: {disk.full: repository}, b: {disk.inodes: repository}, "
    "c: {disk.readonly: repository, when: {at: 50%}}, d: {permission.denied: repository}, e: {disk.slow: repository}}",
    "a volume away and calls on it": "faults: {a: {disk.vanishes: cache, when: {at: 50%}}, b: {disk.slow: cache}}",
    "power and another volume": "faults: {a: {power.cut: repository, when: {at: 50%}}, b: {disk.full: temp}}",
    "power and a wrong password": "faults: {a: {power.cut: repository, when: {at: 50%}}, "
    "b: {repository.wrong_password: repository}}",
    "literal brace": "expect: {log: [{matches: '\\{path}'}]}",
}


@pytest.mark.parametrize("name", FINE)
def test_no_false_alarm(name: str) -> None:
    load_scenario_text(f"{HEAD}{FINE[name]}\n", "x")


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ("for: 5s", "when: {after: 4.9s}"),
        ("for: 5s, every: 10s", "when: {after: 5s}"),
        ("when: {after: 1s}, for: 1s", "when: {after: 30s}"),  # both may be noticed late, and in one step
        ("for: 5s", "when: {at: 100%}"),
        ("until: {at: 50%}", "when: {bytes: 999MiB}"),
        ("until: {at: 50%}", "when: {at: 49%}"),
        ("until: {attempt: 2}", "when: exit"),
        ("", "when: {at: 50%}"),
    ],
)
def test_what_is_not_known_to_be_apart_is_refused(first: str, then: str) -> None:
    a, b = (", ".join(filter(None, ("disk.full: cache", more))) for more in (first, then))
    under = "expect: {under_fault: {list: any}}\n"
    with pytest.raises(ScenarioErrors) as caught:
        load_scenario_text(f"{HEAD}{under}faults:\n  a: {{{a}}}\n  b: {{{b}}}\n", "x")
    assert [(p.code, p.line) for p in caught.value.problems] == [("together", 6)]


def test_two_that_set_the_same_are_refused_in_python_too() -> None:
    first = {"disk.full": "repository", "when": {"at": 0.1}}
    then = {"disk.nearly_full": "repository", "when": {"at": 0.5}}
    fields: dict[str, Any] = {"scenario": "x", "title": "t", "faults": {"first": first, "then": then}}
    with pytest.raises(
        ValidationError, match=r"'then' and 'first' \(disk.full\) both set the size of the repos"
    ):
        Scenario.model_validate(fields, strict=False)
    fields["faults"]["then"] = {**then, "disk.nearly_full": "cache"}
    assert set(Scenario.model_validate(fields, strict=False).faults) == {"first", "then"}


def test_every_family_is_of_kinds_that_there_are() -> None:
    assert frozenset().union(*FAMILIES.values()) <= KINDS.keys()
