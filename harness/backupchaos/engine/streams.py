"""A job that stored its standard input: is what it claims to have stored the whole stream?"""

from __future__ import annotations

from dataclasses import asdict

from backupchaos.engine.oracle import ABSENT, Oracle
from backupchaos.engine.world import World
from backupchaos.environments.base import Place
from backupchaos.faults.base import Stream
from backupchaos.results import RestoreResult
from backupchaos.targets.base import Target
from backupchaos.units import format_size

TIMEOUT = 300.0


class StreamOracle:
    """Restores the snapshot of a stream: some file in it must hold all that the producer had to write."""

    def __init__(self, world: World, target: Target, stream: Stream) -> None:
        self._world = world
        self._target = target
        self._stream = stream

    def verify(self, oracle: Oracle, fresh: list[str], claims: bool, problem: str) -> None:
        """Judge what the job claims; or what it left in the list although it claims nothing."""
        if claims and not fresh:
            oracle.not_restored("newest", None, f"no new snapshot is listed{problem}")
        elif fresh:
            self._restore("newest" if claims else "unclaimed", fresh[-1])

    def _restore(self, which: str, snapshot: str) -> None:
        world, root = self._world, self._world.path(Place.RESTORE)
        world.sandbox.call("remove_tree", path=root)
        world.sandbox.conceal(ABSENT, True)
        try:
            command = self._target.restore(world.workspace, snapshot)
            done = world.run(command, what=f"restore {which}", timeout=TIMEOUT, full_rights=True)
        finally:
            world.sandbox.conceal(ABSENT, False)
        entries = world.sandbox.call("list_files", root=root)["entries"]
        files = [(name, size) for name, kind, size, *_ in entries if kind == "file"]
        whole = any(self._is_it(f"{root}/{name}", size) for name, size in files)
        world.sandbox.call("remove_tree", path=root)
        wanted = format_size(self._stream.size)
        words = [f"{name}: {format_size(size)} of the producer's {wanted}" for name, size in files]
        result = RestoreResult(
            which=which,
            snapshot=snapshot,
            performed=True,
            returncode=done.returncode if not done.timed_out else -9,
            identical=int(whole),
            different=int(not whole and bool(files)),
            missing=int(not files),
            expected=1,
            differences=() if whole else tuple(words[:20]) or ("no file came back",),
            aspects=("content",),
            duration=round(done.duration, 4),
            words="" if done.ok else done.last_words,
        )
        world.history.append("restore", **asdict(result))

    def _is_it(self, path: str, size: int) -> bool:
        if size != self._stream.size:
            return False
        return bool(self._world.sandbox.call("digest", path=path) == self._stream.digest)
