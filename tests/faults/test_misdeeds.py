"""Which requests are hit: a pure decision of seed, request and count."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from backupchaos.services.misdeeds import Misdeeds


def hits(misdeeds: Misdeeds, requests: list[tuple[str, str]]) -> Counter[tuple[str, str]]:
    return Counter(key for key in requests if misdeeds.decide(*key).refused_by)


def silent(seed: int, **settings: Any) -> Misdeeds:
    misdeeds = Misdeeds(seed, lambda ev, **data: None)
    misdeeds.impose("x", "errors", **settings)
    return misdeeds


def test_the_same_seed_hits_the_same_requests_in_whatever_order_they_come() -> None:
    requests = [("PUT", f"/{n % 50}") for n in range(200)]
    # The first request is hit in any order, so that 'at the latest the tenth' plays no part.
    first = next(key for key in requests if hits(silent(1, share=0.1), [key]))
    forth = hits(silent(1, share=0.1), [first, *requests])
    back = hits(silent(1, share=0.1), [first, *reversed(requests)])
    assert forth == back
    assert 0 < forth.total() < 60
    assert hits(silent(2, share=0.1), [first, *requests]) != forth


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5, 1.0])
def test_a_share_is_a_share(share: float) -> None:
    struck = hits(silent(3, share=share), [("GET", f"/{n}") for n in range(2000)]).total()
    assert abs(struck / 2000 - share) < 0.04


@pytest.mark.parametrize("seed", range(40))
def test_a_job_of_few_requests_is_not_spared(seed: int) -> None:
    assert hits(silent(seed, share=0.2), [("GET", f"/{n}") for n in range(5)]).total() >= 1


def test_a_request_that_failed_may_succeed_when_it_is_tried_again() -> None:
    tries = silent(5, share=0.5)
    outcomes = {bool(tries.decide("PUT", "/same").refused_by) for _ in range(20)}
    assert outcomes == {True, False}


def test_who_it_is_comes_before_what_is_asked() -> None:
    misdeeds = silent(1)
    misdeeds.impose("late", "slow", delay=0.5)
    misdeeds.impose("who", "credentials")
    decision = misdeeds.decide("GET", "/")
    assert decision.refused_by is not None
    assert decision.refused_by.name == "who"
    assert decision.delay == 0.5
    misdeeds.lift("who")
    again = misdeeds.decide("GET", "/")
    assert again.refused_by is not None
    assert again.refused_by.name == "x"


def test_nothing_is_counted_before_the_client_was_answered() -> None:
    misdeeds = silent(1)
    decision = misdeeds.decide("GET", "/")
    assert misdeeds.status()["active"]["x"]["struck"] == 0
    misdeeds.carried_out(decision)
    assert misdeeds.status()["active"]["x"]["struck"] == 1


def test_a_server_refuses_what_it_cannot_do() -> None:
    misdeeds = Misdeeds(1, lambda ev, **data: None, ("errors",))
    with pytest.raises(ValueError, match="cannot do 'throttle'"):
        misdeeds.impose("x", "throttle")
