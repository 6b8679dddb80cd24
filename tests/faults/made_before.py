"""What a tool's ``init`` makes is made once in a session: to derive a key takes some tools a second each time."""

from __future__ import annotations

from tests.faults.bench import Bench

from backupchaos.commands import Command
from backupchaos.environments.base import Place

PLACES = (Place.REPOSITORY, Place.STATE, Place.CACHE)
LIST = "find {places} | sort"
SAVE = "{list} | comm -13 {note} - | tar --no-recursion -czPf - -T - | base64 -w0"
PUT = "base64 -d | tar --no-overwrite-dir -xzPf -"
_made: dict[str, bytes] = {}


def init(made: Bench, who: str) -> None:
    """As ``Phases.init_repository``; for the same ``who`` again, what that had made the first time."""
    if who in _made:
        _run(made, PUT, _made[who])
        return
    note = f"{made.world.path(Place.RESTORE)}/before"
    words = {"places": " ".join(map(made.world.path, PLACES)), "note": note}
    _run(made, f"{LIST} >{{note}}".format(**words))
    made.phases.init_repository()
    _made[who] = _run(made, SAVE.format(list=LIST.format(**words), **words)).encode()
    _run(made, f"rm {note}")


def _run(made: Bench, line: str, stdin: bytes = b"") -> str:
    done = made.world.run(Command(("bash", "-o", "pipefail", "-c", line), stdin=stdin), what="made before")
    assert done.ok and not done.truncated, done.output
    return done.stdout
