"""Damage to what is already stored: the medium rots, a file is cut, a file is gone."""

from __future__ import annotations

from typing import Any

from backupchaos.errors import HarnessBroken
from backupchaos.faults.base import Fault, Spec
from backupchaos.model.faults import RepositoryBitflip, RepositoryDelete, RepositoryTruncate


class _Damage(Fault[Spec]):
    """Keeps time stamps as they were: rot does not touch them."""

    mechanism = "repository file changed in place"
    cause = r"corrupt|damage|checksum|integrity|hash|mismatch|invalid|missing|not found|does not match|unexpected|decrypt|authenticat|\btag\b"
    how: str

    def apply(self) -> str:
        """Damage the picked files."""
        spec: Any = self.spec
        picked = self._candidates()[: spec.files]
        if not picked:
            raise HarnessBroken("the repository holds no file to damage")
        self.damaged: list[dict[str, Any]] = [
            self.ground.sandbox.call(
                "damage", path=path, how=self.how, seed=f"{self.ground.seed}/{self.name}"
            )
            for path in picked
        ]
        for record in self.damaged:
            if record["before"] == record["after"]:
                raise HarnessBroken(f"{record['path']} is the same as before")
        return "; ".join(
            f"{self.how} in {record['path']} {record.get('detail', '')}" for record in self.damaged
        )

    def _candidates(self) -> list[str]:
        """Repository files in the order of the pick; those that a mirror is about to overwrite come last.

        A copy of a file that has just changed or gone would be replaced by the job: damage to it is no test.
        """
        spec: Any = self.spec
        changed = self.ground.changed_names
        found: list[str] = self.ground.sandbox.call(
            "pick_files",
            root=self.ground.repository,
            pick=spec.pick,
            count=spec.files + len(changed),
            seed=f"{self.ground.seed}/{self.name}",
        )
        return sorted(found, key=lambda path: path.rsplit("/", 1)[-1] in changed)

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
            if event["which"] in {"newest", "older", "recovered"} and event["performed"]:
                if event["returncode"] != 0:
                    facts.append(f"restore of {event['which']} exits {event['returncode']}")
                elif event["different"] or event["missing"] or event["extra"]:
                    facts.append(f"restore of {event['which']} differs")
        for event in self.ground.history.of("job.end"):
            if event["job"] == "fault" and event["outcome"] != "success":
                facts.append(f"the job ended with {event['outcome']}")
        for record in self.damaged:
            now = self.ground.sandbox.call("digest", path=record["path"])
            if now is not None and now != record["after"]:
                facts.append(f"{record['path']} was rewritten")
        return facts


class Bitflip(_Damage[RepositoryBitflip]):
    """One bit."""

    how = "bitflip"


class Truncate(_Damage[RepositoryTruncate]):
    """The second half."""

    how = "truncate"


class Delete(_Damage[RepositoryDelete]):
    """The whole file."""

    how = "delete"
