"""Damage to what is already stored: the medium rots, a file is cut, a file is gone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from backupchaos.errors import HarnessBroken, MissingCapability
from backupchaos.faults.afterwards import too_often
from backupchaos.faults.base import Fault, Spec
from backupchaos.faults.moments import in_company
from backupchaos.model.faults.repository import RepositoryBitflip, RepositoryDelete, RepositoryTruncate

HOW = {"bit": "bitflip", "zeros": "zero", "swapped": "swap"}
"""Words of the vocabulary -> words of the operation ``damage``."""
EMPTY = hashlib.sha256().hexdigest()
"""Of a file without content: a tool may make one itself."""
ATTEMPTS = 10
THEIR_OWN = 200
"""More files than a server keeps for itself."""
SPARE = 100
"""So many files more are looked at, to find one to exchange with."""


class _Damage(Fault[Spec]):
    """Keeps time stamps as they were: rot does not touch them."""

    mechanism = "repository file changed in place"
    cause = (
        r"corrupt|damage|checksum|integrity|\bhash|mismatch|invalid|missing|not found|no such (file|key|object)"
        r"|no key found|not a (valid )?repository|no repository|\b(newer|older) than\b"
        r"|does(n't| not) (match|exist)|unexpected (EOF|end)|decrypt|authenticat|\btag\b|truncated|too short"
    )
    damaged: list[dict[str, Any]]
    """What each stroke did, over all windows."""
    _mended: list[dict[str, Any]]
    _strokes: int

    def prepare(self) -> None:
        """Remember what is stored before the job: what it is just writing is no stored file yet."""
        self.damaged, self._mended, self._strokes = [], [], 0
        self._stored = frozenset(self._pick(1_000_000))

    def apply(self) -> str:
        """Damage the picked files; each time others, as long as there are others."""
        spec: Any = self.spec
        candidates = self._candidates()
        if not candidates:
            raise HarnessBroken("the repository holds no file to damage")
        self._strokes += 1
        self._fresh: list[dict[str, Any]] = []
        for place, path in enumerate(candidates):
            if len(self._fresh) < spec.files:
                self._fresh += self._strike(path, candidates[max(place + 1, spec.files) :])
        if not self._fresh:
            raise HarnessBroken(f"{candidates[0]} and all others are the same as before")
        self.damaged += self._fresh
        words = "; ".join(f"{record['how']} in {record['path']} {record['detail']}" for record in self._fresh)
        short = spec.files - len(self._fresh)
        return words + (f"; {short} files less than asked for, there are no more" if short else "")

    def _strike(self, path: str, spare: Sequence[str]) -> list[dict[str, Any]]:
        """The record of the damage; none if the file cannot be made different: zeros in a hole are no damage."""
        for attempt in range(ATTEMPTS):
            # The seed counts the strokes: the same bit flipped twice would be whole again.
            seed = f"{self.ground.seed}/{self.name}/{len(self.damaged) + len(self._fresh)}/{attempt}"
            record = self.ground.sandbox.call("damage", path=path, seed=seed, **self.how(path, spare))
            if record["before"] != record["after"]:
                return [record]
        return []

    def how(self, path: str, spare: Sequence[str]) -> Mapping[str, Any]:
        """Arguments of the operation ``damage``; ``spare`` are files that are not picked themselves."""
        raise NotImplementedError

    def _candidates(self) -> list[str]:
        """Repository files in the order of the pick; those that would make no test come last.

        Of a mirror, a copy of a file that has just changed or gone would be replaced by the job. Of any
        repository, a file that the running job is just writing, and one that is damaged already.
        """
        spec: Any = self.spec
        changed, done = self.ground.changed_names, {record["path"] for record in self.damaged}
        found = self._pick(spec.files + len(changed) + len(done) + SPARE)
        if self._job_runs():
            found = self._pick(len(self._stored) + 1_000)
            found = [path for path in found if path in self._stored] or found
        return sorted(found, key=lambda path: (path.rsplit("/", 1)[-1] in changed, path in done))

    def _pick(self, count: int) -> list[str]:
        """What clients have stored; what its server keeps for itself beside that is nobody's backup."""
        spec: Any = self.spec
        found: list[str] = self.ground.sandbox.call(
            "pick_files",
            root=self.ground.repository,
            pick=spec.pick,
            count=count + THEIR_OWN,
            seed=f"{self.ground.seed}/{self.name}",
        )
        below, means = len(self.ground.repository) + 1, self.ground.means
        return [path for path in found if means is None or means.client_name(path[below:]) is not None][
            :count
        ]

    def _job_runs(self) -> bool:
        means, pid = self.ground.means, self.ground.job_pid
        return pid is not None and means is not None and pid not in means.exits

    def verify(self) -> None:
        """What lies there is what the damage left; a running job may have replaced it in the meantime."""
        for record in self._fresh:
            now = self.ground.sandbox.call("digest", path=record["path"])
            if now != record["after"] and (now == record["before"] or not self._job_runs()):
                raise HarnessBroken(f"{record['path']} is not damaged as it should be")

    def after_job(self) -> None:
        """Which files are no longer as the damage left them: the job has repaired or replaced them."""
        digests = [
            (record, self.ground.sandbox.call("digest", path=record["path"])) for record in self.damaged
        ]
        self._mended = [record for record, now in digests if now not in (None, record["after"])]

    def strays(self) -> list[str]:
        """A stroke that was not due, or damage that is there again although the job had repaired it."""
        call = self.ground.sandbox.call
        shapes = [(r["path"], r["after"]) for r in self._mended if r["after"] not in (None, EMPTY)]
        again = [path for path, damaged in shapes if call("digest", path=path) == damaged]
        return [
            *too_often(self, self._strokes, "the repository was damaged"),
            *(f"{path} had been repaired, and is damaged again" for path in again),
        ]

    def bite(self) -> list[str]:
        """The damage mattered: somebody stumbled over it, or repaired it.

        Judged after everything else: a check or a restore that fails or differs, a job that
        fails, or a file that is no longer as we left it. Damage that changes nothing is no test.
        """
        facts = []
        for event in self.ground.history.of("check.tool"):
            if event["returncode"] != 0:
                facts.append(f"the tool's check exits {event['returncode']}")
        for event in self.ground.history.of("restore"):
            if event["which"] == "older" and not event["performed"]:
                facts.append(f"the snapshot from before: {event['reason']}")
            if event["which"] in {"newest", "older", "recovered"} and event["performed"]:
                if event["returncode"] != 0:
                    facts.append(f"restore of {event['which']} exits {event['returncode']}")
                elif event["different"] or event["missing"] or event["extra"]:
                    facts.append(f"restore of {event['which']} differs")
        alone = not in_company(self.ground.history, self.name)  # else others may have made the job fail
        for event in self.ground.history.of("job.end"):
            if event["job"] == "fault" and event["outcome"] != "success" and alone:
                facts.append(f"the job ended with {event['outcome']}")
        for record in self.damaged:
            now = self.ground.sandbox.call("digest", path=record["path"])
            if now is not None and now != record["after"]:
                facts.append(f"{record['path']} was rewritten")
        return facts


class Bitflip(_Damage[RepositoryBitflip]):
    """One bit, one block, or one file for another."""

    def prepare(self) -> None:
        """Raises ``MissingCapability`` for a tool that keeps all in so few files that none is left to exchange with."""
        super().prepare()
        if self.spec.how == "swapped" and len(self._stored) <= self.spec.files:
            reason = f"the repository holds {len(self._stored)} file(s) so far, and so none to exchange with"
            raise MissingCapability("second file", reason)

    def how(self, path: str, spare: Sequence[str]) -> Mapping[str, Any]:
        """As the scenario says; a file is exchanged with the one that is most like it: who tells them apart by size?"""
        if self.spec.how == "swapped":
            return {"how": "swap", "other": min(spare, key=self._unlikeness(path))}
        return {"how": HOW[self.spec.how]}

    def _unlikeness(self, path: str) -> Callable[[str], tuple[bool, bool, int]]:
        root = self.ground.repository
        entries = self.ground.sandbox.call("list_files", root=root)["entries"]
        sizes = {f"{root}/{name}": size for name, _, size, *_ in entries}

        def key(other: str) -> tuple[bool, bool, int]:
            off = abs(sizes.get(other, 0) - sizes.get(path, 0))
            return off > 0, other.rpartition("/")[0] != path.rpartition("/")[0], off

        return key


class Truncate(_Damage[RepositoryTruncate]):
    """The end of the file."""

    def how(self, path: str, spare: Sequence[str]) -> Mapping[str, Any]:
        """Cut where the share that is to be kept ends."""
        size = int(self.ground.sandbox.call("stat", path=path)["size"])
        return {"how": "truncate", "offset": min(size - 1, int(size * self.spec.keep))}


class Delete(_Damage[RepositoryDelete]):
    """The whole file."""

    def how(self, path: str, spare: Sequence[str]) -> Mapping[str, Any]:
        """There is one way only."""
        return {"how": "delete"}


MECHANISMS = {
    "repository.bitflip": Bitflip,
    "repository.truncate": Truncate,
    "repository.delete": Delete,
}
