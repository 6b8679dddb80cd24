"""Faults of the link: what a few lines of a program see of them, and what proves that they did."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.faults.bench import Tried, bench, python, tried
from tests.faults.echo import DIAL, NOTHING, echo_service

from backupchaos.environments.local.environment import LocalEnvironment
from backupchaos.errors import HarnessBroken, MissingCapability, UsageProblem
from backupchaos.faults.on_link import CAUSE
from backupchaos.links.links import Link

pytestmark = pytest.mark.needs("namespaces", "seccomp")
__all__ = ["echo_service"]

READY = {"when": {"log": "ready"}}
ENOUGH = {"until": {"log": "enough"}}
AT_100 = {"when": {"bytes": 100}}
"""The link stops at this byte until the fault is in force: what the job sends afterwards meets it for sure."""


def probed(tmp_path: Path, fault: Mapping[str, Any], code: str, **more: Any) -> Tried:
    result = tried(tmp_path, fault, python(DIAL + code), repository="rest", **more)
    assert result.strays == []
    return result


KINDS: dict[str, dict[str, Any]] = {
    "network.down": {},
    "network.blackhole": {},
    "network.reset": {},
    "network.slow": {"rate": 1000},
    "network.latency": {"delay": 0.05},
    "network.cut_after": {"size": 100},
    "network.flap": {},
    "network.loss": {"share": 0.5},
    "network.half_open": {},
    "network.slice": {},
    "network.corrupt": {},
}


@pytest.mark.parametrize("kind", KINDS)
def test_it_comes_and_goes_and_does_not_bite_a_job_that_stays_away(tmp_path: Path, kind: str) -> None:
    fault = {kind: "repository", **KINDS[kind]}
    result = probed(tmp_path, fault, NOTHING)
    assert (result.returncode, result.proof) == (0, [])
    seen = [e["status"] for e in result.events if e.kind == "fault"]
    instant = kind == "network.reset"
    assert seen == ["applying", "applied"] + ([] if instant else ["undoing", "undone"])


@pytest.mark.parametrize(
    "text",
    [
        "link sftp://127.0.0.1:4022 failed at write data/ab: Connection lost",
        "link sftp://127.0.0.1:4022 is silent: no answer to open x within 10 s",
        "Save(<data/1f>) returned error, retrying after 552ms: dial tcp 127.0.0.1:80: connect: connection refused",
        "client_loop: send disconnect: Broken pipe",
        "read tcp 127.0.0.1:1->127.0.0.1:2: i/o timeout",
        "Failed to copy: unexpected EOF",
        "rsync error: timeout in data send/receive (code 30)",
    ],
)
def test_words_that_name_the_link(text: str) -> None:
    assert re.search(CAUSE, text, re.IGNORECASE)


@pytest.mark.parametrize(
    "text",
    ["cannot create hard link", "file is closed", "backup failed", "lost+found skipped", "host: store1"],
)
def test_words_that_do_not(text: str) -> None:
    assert not re.search(CAUSE, text, re.IGNORECASE)


# -- away -----------------------------------------------------------------------------------------

AWAY = """
live = dial()
say(echo(live, b'before'), 'ready')
say(end(live))
try: dial()
except OSError as error: say(errno.errorcode[error.errno])
say('enough')
while True:
    try:
        again = dial()
        if echo(again, b'?'): break
    except OSError: pass
    time.sleep(0.02)
say(echo(again, b'after'))
"""


def test_down_cuts_and_refuses(tmp_path: Path) -> None:
    result = probed(tmp_path, {"network.down": "repository", **READY, **ENOUGH}, AWAY)
    assert result.lines == ["b'before' ready", "EOF", "ECONNREFUSED", "enough", "b'after'"]
    assert "1 live connections cut after 6 bytes sent" in result.proof
    assert any("connection attempts refused" in fact for fact in result.proof)


def test_down_resets(tmp_path: Path) -> None:
    code = AWAY.replace("try: dial()", "try: say(end(dial()))")
    result = probed(tmp_path, {"network.down": "repository", "mode": "reset", **READY, **ENOUGH}, code)
    assert result.lines == ["b'before' ready", "ECONNRESET", "ECONNRESET", "enough", "b'after'"]
    assert len(result.proof) == 2


def test_down_comes_again_and_its_proof_is_of_all_windows(tmp_path: Path) -> None:
    code = """
ends = []
while len(ends) < 3:
    try: live = dial()
    except OSError: time.sleep(0.02); continue
    say('ready') if not ends else None
    ends.append(end(live))
say(*ends)
"""
    fault = {"network.down": "repository", "for": 0.1, "every": 0.4, **READY}
    result = probed(tmp_path, fault, code)
    assert result.lines[-1] == "EOF EOF EOF"
    assert len(result.fault.windows) >= 3
    assert result.proof[0] == "3 live connections cut after 0 bytes sent"


def test_reset_strikes_once(tmp_path: Path) -> None:
    code = "live = dial(); say(echo(live, b'x'), 'ready'); say(end(live)); say(echo(dial(), b'y'))"
    result = probed(tmp_path, {"network.reset": "repository", **READY}, code)
    assert result.lines == ["b'x' ready", "ECONNRESET", "b'y'"]
    assert result.proof == ["1 live connections cut after 1 bytes sent"]


def test_a_blackhole_keeps_silent_and_ends(tmp_path: Path) -> None:
    code = """
live = dial(); live.sendall(bytes(100)); live.settimeout(0.3); say(end(live))
live.sendall(b'hello?'); say(end(live))
try: dial(0.2)
except TimeoutError: say('no answer')
say('enough')
live.settimeout(20); say(read(live, 106)[100:])
"""
    result = probed(tmp_path, {"network.blackhole": "repository", **AT_100, **ENOUGH}, code)
    assert result.lines == ["silence", "silence", "no answer", "enough", "b'hello?'"]
    assert result.proof == [
        "1 live connections went silent with up to 106 bytes under way",
        "1 connection attempts left without an answer",
    ]


IDLE = """
live = dial(); say(echo(live, b'x'), 'ready')
time.sleep(0.5)
"""


@pytest.mark.parametrize("kind", ["network.blackhole", "network.half_open"])
def test_silence_that_an_idle_connection_never_hears_is_no_bite(tmp_path: Path, kind: str) -> None:
    result = probed(tmp_path, {kind: "repository", **READY}, IDLE)
    assert (result.returncode, result.proof) == (0, [])


def test_an_answer_that_never_comes_is_one(tmp_path: Path) -> None:
    """The question went before the fault, so the job waits without having anything under way."""
    code = "live = dial(); live.sendall(b'x' * 3000); live.settimeout(0.5); say(end(live))"
    fault = {"network.half_open": "repository", "when": {"bytes": 3000}}
    result = probed(tmp_path, fault, code)
    assert result.lines == ["silence"]
    assert result.proof == ["1 live connections went silent with up to 3000 bytes under way"]


def test_half_open_says_nothing_for_ever_and_new_connections_work(tmp_path: Path) -> None:
    code = """
live = dial(); live.sendall(bytes(100)); live.settimeout(0.3); say(end(live))
live.sendall(b'hello?'); say(end(live))
say(echo(dial(), b'new'))
live.setsockopt(socket.IPPROTO_TCP, 18, 100)  # TCP_USER_TIMEOUT: what nobody acknowledged is given up
live.settimeout(20); say(end(live))
"""
    result = probed(tmp_path, {"network.half_open": "repository", **AT_100}, code)
    assert result.lines == ["silence", "silence", "b'new'", "ETIMEDOUT"]
    assert result.proof == ["1 live connections went silent with up to 106 bytes under way"]


def test_half_open_connections_are_gone_after_it(tmp_path: Path) -> None:
    code = "live = dial(); live.sendall(bytes(100)); say(end(live))"
    result = probed(tmp_path, {"network.half_open": "repository", "for": 0.3, **AT_100}, code)
    assert result.lines == ["ECONNRESET"]
    assert result.proof


def test_flap_goes_on_while_the_harness_is_busy(tmp_path: Path) -> None:
    with bench(
        tmp_path, {"network.flap": "repository", "down": 0.05, "up": 0.1}, python(NOTHING), repository="rest"
    ) as made:
        fault = made.fault
        fault.begin(made.world.history.now())
        fault.apply()
        fault.verify()
        time.sleep(0.7)  # busy
        fault.undo()
        fault.verify_undone()
        made.world.poll_links()
        assert len([e for e in made.world.history.of("link") if e["ev"] == "down"]) >= 3
        assert fault.bite() == [], "nobody was there"


def test_flap_bites(tmp_path: Path) -> None:
    code = """
said = set()
while len(said) < 3:
    try: live = dial(); said.add('there'); said.add(end(live))
    except ConnectionRefusedError: said.add('refused')
    time.sleep(0.01)
say(*sorted(said))
"""
    result = probed(tmp_path, {"network.flap": "repository", "down": 0.2, "up": 0.2}, code)
    assert result.lines == ["EOF refused there"]
    assert any("cut" in fact for fact in result.proof)
    assert any("refused" in fact for fact in result.proof)


# -- less than all --------------------------------------------------------------------------------


def test_cut_after_so_many_bytes_and_connections(tmp_path: Path) -> None:
    code = """
for _ in range(3):
    live = dial()
    try: live.sendall(bytes(50_000)); live.shutdown(1); say(end(live))
    except OSError as error: say(errno.errorcode[error.errno])
"""
    fault = {"network.cut_after": "repository", "size": 20_000, "connections": 2}
    result = probed(tmp_path, fault, code)
    assert set(result.lines[:2]) <= {"ECONNRESET", "EPIPE", "ENOTCONN"}  # by the call that the reset meets
    assert result.lines[2] == "EOF"
    assert result.proof == ["2 connections reset after 20000 bytes each"]
    ups = [e["up"] for e in result.events if e.kind == "link" and e["ev"] == "close"]
    assert ups == [20_000, 20_000, 50_000]


def test_lost_packets_come_in_the_end(tmp_path: Path) -> None:
    code = "data = os.urandom(3 << 20); say(echo(dial(), data) == data)"
    result = probed(tmp_path, {"network.loss": "repository", "share": 0.15}, code)
    assert result.lines == ["True"]
    (fact,) = result.proof
    assert "dropped by the kernel" in fact
    assert "sent again" in fact
    assert int(fact.split()[0]) >= 3


@pytest.mark.parametrize("kind", ["network.loss", "network.half_open"])
def test_what_drops_packets_needs_a_kernel_that_obeys(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Link, "filters_packets", lambda self: False)
    with pytest.raises(MissingCapability, match="socket filters"):
        probed(tmp_path, {kind: "repository", "when": {"log": "never"}}, NOTHING)


def test_slices(tmp_path: Path) -> None:
    code = """
data = os.urandom(20_000); live = dial(); start = time.monotonic()
say(echo(live, data) == data, time.monotonic() - start >= 0.1)
"""
    # At most 750 bytes each, so 27 pieces or more, over one chunk or two. What a late reader gets says nothing.
    result = probed(tmp_path, {"network.slice": "repository", "size": 500, "delay": 0.004}, code)
    assert result.lines == ["True True"]
    words = "20000 bytes up and 20000 down cut into pieces of about 500, one chunk into "
    assert result.proof[0].startswith(words)
    assert int(result.proof[0].removeprefix(words).split()[0]) >= 20


def test_what_is_smaller_than_a_slice_is_not_cut(tmp_path: Path) -> None:
    code = "live = dial()\nfor _ in range(50): echo(live, bytes(100))"
    assert probed(tmp_path, {"network.slice": "repository", "size": 500}, code).proof == []


CORRUPTED = """
data = bytes(400_000); back = echo(dial(), data)
hit = [place for place, value in enumerate(back) if value]
say(len(back), sum(value.bit_count() for value in back), min(hit) > 4096, *hit)
"""


def test_flipped_bits_arrive_at_places_of_the_seed(tmp_path: Path) -> None:
    said = []
    for number, seed in enumerate((7, 7, 8)):
        folder = tmp_path / str(number)
        folder.mkdir()
        result = probed(folder, {"network.corrupt": "repository", "bits": 3}, CORRUPTED, seed=seed)
        said.append(result.lines)
        assert result.proof[0].startswith("3 bits flipped on 1 connections, first: connection 1 byte ")
    assert said[0][0].startswith("400000 3 True ")
    assert said[0] == said[1] != said[2]


# -- slow -----------------------------------------------------------------------------------------


def test_latency_both_ways(tmp_path: Path) -> None:
    code = "live = dial(); start = time.monotonic(); echo(live, b'x'); say(time.monotonic() - start >= 0.3)"
    fault = {"network.latency": "repository", "delay": 0.2, "jitter": 0.05}
    result = probed(tmp_path, fault, code)
    assert result.lines == ["True"]
    assert result.proof == ["1 bytes up and 1 down delayed by 200 ms"]
    added = [e["toxic"]["attributes"] for e in result.events if e.kind == "link" and e["ev"] == "toxic_add"]
    assert added == [{"latency": 200, "jitter": 50}] * 2


def test_a_rate_for_each_connection(tmp_path: Path) -> None:
    code = "lives = [dial() for _ in range(4)]\nfor live in lives: echo(live, bytes({size}))"
    fault = {"network.slow": "repository", "rate": 100_000}
    (fact,) = probed(tmp_path, fault, code.replace("{size}", "20_000")).proof
    assert fact.startswith("80000 bytes up, 80000 down: held up for 0.20 s")
    assert probed(tmp_path, fault, code.replace("{size}", "5_000")).proof == [], "it hardly felt that"


# -- what is in force is looked at ----------------------------------------------------------------


def disturbed(fault: str, link: Link) -> None:
    """Take the fault away behind the harness's back."""
    if fault in {"network.down", "network.blackhole"}:
        link.up()
    elif fault in {"network.slow", "network.latency", "network.slice"}:
        list(link.toxics().values())[1].remove()
    else:
        link.relieve("fault")


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"network.reset"}))
def test_a_fault_that_is_not_in_force_is_noticed(tmp_path: Path, kind: str) -> None:
    with bench(tmp_path, {kind: "repository", **KINDS[kind]}, python(NOTHING), repository="rest") as made:
        fault, link = made.fault, made.world.link
        assert link is not None
        fault.begin(made.world.history.now())
        fault.apply()
        fault.verify()
        with pytest.raises(HarnessBroken):
            fault.verify_undone()
        disturbed(kind, link)
        with pytest.raises(HarnessBroken):
            fault.verify()


@pytest.mark.parametrize("kind", ["network.down", "network.blackhole"])
def test_a_link_that_another_fault_has_down_by_then_is_left_so(tmp_path: Path, kind: str) -> None:
    with bench(tmp_path, {kind: "repository"}, python(NOTHING), repository="rest") as made:
        fault, link = made.fault, made.world.link
        assert link is not None
        fault.begin(made.world.history.now())
        fault.apply()
        link.up()
        link.down("reset", cause="other")
        fault.undo()
        fault.verify_undone()
        assert (link.state()["mode"], link.state()["cause"]) == ("reset", "other")


def test_a_toxic_that_never_came_is_undone_without_ado(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(self: Link) -> dict[str, Any]:
        raise HarnessBroken("no answer")

    fault = {"network.latency": "repository", "delay": 0.05}
    with bench(tmp_path, fault, python(NOTHING), repository="rest") as made:
        made.fault.begin(made.world.history.now())
        with monkeypatch.context() as patch:
            patch.setattr(Link, "state", silent)
            with pytest.raises(HarnessBroken, match="no answer"):
                made.fault.apply()
        made.fault.undo()
        made.fault.verify_undone()


def test_every_toxic_is_removed_even_if_one_is_gone(tmp_path: Path) -> None:
    fault = {"network.latency": "repository", "delay": 0.05}
    with bench(tmp_path, fault, python(NOTHING), repository="rest") as made:
        link = made.world.link
        assert link is not None
        made.fault.begin(made.world.history.now())
        made.fault.apply()
        link.toxics()["fault_upstream"].remove()
        with pytest.raises(HarnessBroken, match="toxic not found"):
            made.fault.undo()
        assert link.toxics() == {}
        made.fault.verify_undone()


def test_a_strike_outside_of_its_window_is_a_stray(tmp_path: Path) -> None:
    with bench(
        tmp_path, {"network.corrupt": "repository"}, python(DIAL + CORRUPTED), repository="rest"
    ) as made:
        result = made.go()
        assert result.strays == []
        assert made.world.link is not None
        made.world.link.afflict("corrupt", "fault", bits=2)
        made.run(*made.phases.target.backup(made.world.workspace).argv)
        made.world.poll_links()
        strays = made.fault.strays()
        assert [stray.partition(" at ")[0] for stray in strays[:2]] == ["flip", "flip"]
        assert strays[2:] == [
            "it was undone, and is in force again at the end of the run: the tap still has network.corrupt"
        ]


@pytest.mark.parametrize("kind", ["network.loss", "network.blackhole"])
def test_packets_that_are_still_dropped_are_noticed(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with bench(tmp_path, {kind: "repository"}, python(NOTHING), repository="rest") as made:
        fault, link = made.fault, made.world.link
        assert link is not None
        fault.begin(made.world.history.now())
        fault.apply()
        fault.undo()
        fault.verify_undone()
        real = link.state()
        monkeypatch.setattr(Link, "state", lambda self: real | {"stray_filters": 1})
        with pytest.raises(HarnessBroken, match="packets of 1 sockets are still dropped"):
            fault.verify_undone()


def test_faults_of_one_link_at_a_time(tmp_path: Path) -> None:
    kinds = {"fault": "network.loss", "other": "network.down", "third": "network.down"}
    faults = {name: {kind: "repository"} for name, kind in kinds.items()}
    with bench(tmp_path, {}, python(NOTHING), repository="rest", faults=faults) as made:
        one, two, three = made.phases.faults.values()
        for fault in (one, two):
            fault.begin(made.world.history.now())
            fault.apply()
            fault.verify()
        one.undo()
        one.verify_undone()
        three.begin(made.world.history.now())
        with pytest.raises(UsageProblem, match="refused already, because of other"):
            three.apply()
        with pytest.raises(HarnessBroken, match="because of other, not of third"):
            three.verify()
        two.undo()
        two.verify_undone()


@pytest.mark.parametrize("mechanism", ["userns", "plain"])
def test_the_taps_own_faults_need_no_rights(tmp_path: Path, mechanism: str) -> None:
    environment = LocalEnvironment(mechanism)
    code = "data = os.urandom(3 << 20); say(echo(dial(), data) == data)"
    fault = {"network.loss": "repository", "share": 0.2}
    result = probed(tmp_path, fault, code, environment=environment)
    assert result.lines == ["True"]
    assert result.proof


PLAIN = LocalEnvironment("plain")
REFUSED = """
for _ in range(5):
    try: dial()
    except OSError as error: say(errno.errorcode[error.errno])
"""


STRANGERS = """
for port in [1] * 50:
    try: socket.create_connection(('127.0.0.1', port), 1)
    except OSError: pass
say('idle')
"""


@pytest.mark.needs("root")
@pytest.mark.parametrize(
    ("code", "proof"),
    [(REFUSED, ["5 connection attempts refused"]), (STRANGERS, [])],
    ids=["at the link", "elsewhere"],
)
def test_who_may_watch_packets_counts_no_strangers_on_a_shared_network(
    tmp_path: Path, code: str, proof: list[str]
) -> None:
    result = probed(tmp_path, {"network.down": "repository"}, code, environment=PLAIN)
    assert result.proof == proof


def test_a_live_connection_that_is_cut_is_proof_enough_on_a_shared_network(tmp_path: Path) -> None:
    result = probed(
        tmp_path / "cut", {"network.down": "repository", **READY, **ENOUGH}, AWAY, environment=PLAIN
    )
    assert "live connections cut" in result.proof[0]
    fault = {"network.down": "repository", "mode": "reset", **READY, **ENOUGH}
    code = AWAY.replace("try: dial()", "try: say(end(dial()))")
    assert probed(tmp_path / "reset", fault, code, environment=PLAIN).proof
