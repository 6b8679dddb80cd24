"""What no job survives is refused beside a promise to survive; what one can survive never is.

Every kind of fault stands in one of the two tables, so that a new kind has to be thought about.
"""

from __future__ import annotations

import pytest

from backupchaos.model.faults import KINDS
from backupchaos.model.loader import ScenarioErrors, load_scenario_text

HEAD = "scenario: x\ntitle: t\n"
SURVIVE = "envelope: must_survive\n"

NEVER = {
    "network.down: repository": "the link stays away",
    "network.down: repository, mode: unreachable": "the link stays away",
    "network.down: repository, when: {at: 99%}": "the link stays away",
    "network.down: repository, when: {bytes: 1MiB}": "the link stays away",
    "network.down: repository, when: {state: RUNNING}": "the link stays away",
    "network.blackhole: repository": "the link stays away",
    "network.loss: repository, share: 100%, when: {at: 50%}": "no packet arrives",
    "network.latency: repository, delay: 2m": "the first answer is due after the deadline of 2m",
    "dns.failure: repository": "nobody ever learns the server's address",
    "dns.slow: repository, delay: 2m": "the first answer is due after the deadline of 2m",
    "service.kill: repository, when: {at: 50%}": "the server stays away",
    "service.credentials_expire: repository": "nobody is let in",
    "service.errors: repository, share: 100%": "every request fails",
    "service.throttle: repository": "every request is put off",
    "service.slow: repository, delay: 3m": "the first answer is due after the deadline of 2m",
    "disk.full: repository": "64KiB stay free of what 2MiB of new data need",
    "disk.full: repository, headroom: 1MiB": "1MiB stay free of what 2MiB of new data need",
    "disk.full: repository, when: {at: 50%}": "64KiB stay free of what 2MiB of new data need",
    "disk.nearly_full: repository, left: 1MiB": "1MiB stay free of what 2MiB of new data need",
    "disk.readonly: repository, when: {at: 50%}": "nothing can be stored",
    "disk.slow: source, delay: 2m": "the first answer is due after the deadline of 2m",
    "disk.io_error: source": "every such call fails",
    "disk.io_error: source, call: open": "every such call fails",
    "disk.io_error: repository, call: write": "every such call fails",
    "disk.vanishes: source": "the volume stays away",
    "disk.vanishes: repository": "the volume stays away",
    "permission.denied: source": "it cannot be opened by anybody",
    "permission.denied: repository": "it cannot be opened by anybody",
    "file.locked: source": "a file that it owes cannot be opened",
    "file.unreadable: source": "a file that it owes cannot be read",
    "process.stdin_dies: target": "what it is to store never comes",
    "process.kill: target, when: {at: 50%}": "SIGKILL ends the job",
    "power.cut: repository, when: {at: 50%}": "the job dies with the machine",
    "power.lying_disk: repository, when: {at: 50%}": "the job dies with the machine",
    "repository.wrong_password: repository": "the repository stays closed",
}
"""A fault without an end -> why."""

PERHAPS = (
    "network.down: repository, when: {at: 100%}",
    "network.down: repository, when: {bytes: 2MiB}",
    "network.down: repository, when: {log: 'all is stored'}",
    "network.down: repository, when: {attempt: 2}",
    "network.down: repository, when: {after: 5s}",
    "network.down: repository, when: {call: {name: unlink, place: repository}}",
    "network.down: repository, when: {log: again}, until: {log: again}, times: 3",
    "network.down: repository, when: {at: 10%}, for: 1s, every: 5s",
    "network.reset: repository, when: {at: 50%}",
    "network.slow: repository, rate: 1MiB/s",
    "network.latency: repository, delay: 119s",
    "network.cut_after: repository, size: 1KiB",
    "network.flap: repository",
    "network.loss: repository, share: 99%",
    "network.half_open: repository, when: {at: 50%}",
    "network.slice: repository",
    "network.corrupt: repository",
    "dns.failure: repository, when: {at: 50%}",
    "dns.failure: repository, for: 5s",
    "service.kill: repository, for: 1s",
    "service.restart: repository, when: {at: 50%}",
    "service.errors: repository, share: 99%",
    "service.throttle: repository, share: 50%",
    "service.credentials_expire: repository, for: 5s",
    "disk.full: cache",
    "disk.full: temp",
    "disk.full: repository, headroom: 2MiB",
    "disk.full: repository, headroom: 1MiB, when: {at: 50%}",
    "disk.full: repository, when: {at: 90%}",
    "disk.full: repository, until: {log: 'no space'}",
    "disk.nearly_full: repository",
    "disk.inodes: repository",
    "disk.quota: target",
    "disk.readonly: cache",
    "disk.slow: cache, delay: 2m",
    "disk.io_error: source, calls: 3",
    "disk.io_error: source, nth: 100",
    "disk.io_error: source, path: 'a/**'",
    "disk.io_error: source, when: {at: 50%}",
    "disk.io_error: repository, call: fsync",
    "disk.io_error: repository, call: read",
    "disk.io_error: cache, call: open",
    "disk.short_write: repository",
    "disk.lost_fsync: repository",
    "disk.vanishes: cache",
    "disk.vanishes: source, when: {at: 50%}",
    "disk.vanishes: repository, when: {at: 50%}",
    "power.cut: repository, when: exit",
    "permission.denied: cache",
    "permission.denied: temp",
    "permission.denied: source, when: {at: 50%}",
    "file.locked: source, refusals: 3",
    "file.locked: source, mode: advisory",
    "file.locked: source, when: {at: 50%}",
    "file.unreadable: source, nth: 2",
    "file.vanishes: source",
    "file.truncated: source",
    "file.grows: source",
    "file.replaced: source",
    "file.special: source",
    "process.kill: target, signal: TERM, when: {at: 50%}",
    "process.kill: target, who: helper, when: {at: 50%}",
    "process.pause: target, when: {at: 50%}, for: 1s",
    "process.oom: target",
    "process.fds: target",
    "process.pids: target",
    "process.cpu: target",
    "process.minimal_env: target",
    "process.concurrent: target, when: {at: 50%}",
    "process.stdin_dies: target, share: 100%",
    "clock.jump: target, when: {at: 50%}",
    "clock.skew: target",
    "repository.bitflip: repository",
    "repository.truncate: repository",
    "repository.delete: repository",
    "repository.rollback: repository",
    "repository.stale_lock: repository",
    "repository.swapped: repository",
    "cache.corrupt: cache",
    "cache.lost: cache",
    "version.drift: target",
    "config.drift: target",
)


def said(text: str) -> list[tuple[str, str]]:
    try:
        load_scenario_text(HEAD + text, "x")
    except ScenarioErrors as errors:
        return [(problem.code, problem.message) for problem in errors.problems]
    return []


def test_every_kind_has_been_thought_about() -> None:
    assert {fault.partition(":")[0] for fault in (*NEVER, *PERHAPS)} == set(KINDS)


@pytest.mark.parametrize("promise", [SURVIVE, "expect: {outcome: success}\n"], ids=["envelope", "outcome"])
@pytest.mark.parametrize("fault", NEVER)
def test_refused(fault: str, promise: str) -> None:
    [(code, message)] = said(f"{promise}faults:\n  a: {{{fault}}}\n")
    assert code == "not-survivable"
    assert message.startswith(NEVER[fault])


@pytest.mark.parametrize("fault", NEVER)
@pytest.mark.parametrize("envelope", ["either", "must_fail_loudly"])
def test_a_job_that_need_not_survive_may_meet_it(fault: str, envelope: str) -> None:
    assert not said(f"envelope: {envelope}\nfaults:\n  a: {{{fault}}}\n")


@pytest.mark.parametrize("fault", PERHAPS)
def test_what_may_be_survived_is_not_refused(fault: str) -> None:
    assert not said(f"{SURVIVE}faults:\n  a: {{{fault}}}\n")


@pytest.mark.parametrize(
    "more",
    [
        "source: {new: 0B, change: 0%}",  # success may be true without a byte
        "expect: {restore: loud}",
        "waive: {honest: why}",
    ],
)
def test_a_job_that_owes_no_new_data_may_survive(more: str) -> None:
    assert not said(f"{SURVIVE}{more}\nfaults:\n  a: {{network.down: repository}}\n")


def test_room_in_a_real_tree_is_not_foreseen() -> None:
    text = f"{SURVIVE}source: {{path: /usr/share/doc}}\nfaults:\n  a: {{disk.full: repository}}\n"
    assert not said(text)


def test_a_mirror_that_deletes_first_may_have_room() -> None:
    text = (
        f"{SURVIVE}source: {{size: 40MiB, change: 50%, new: 2MiB}}\nfaults:\n  a: {{disk.full: repository}}\n"
    )
    assert not said(text)


@pytest.mark.parametrize("kind", ["network.down", "network.blackhole", "service.kill", "dns.failure"])
def test_a_service_may_be_none_that_the_job_needs(kind: str) -> None:
    assert not said(f"{SURVIVE}services: {{catalog: any}}\nfaults:\n  a: {{{kind}: catalog}}\n")
