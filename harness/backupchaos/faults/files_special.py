"""Things in the source that are no plain files, or have hard names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from backupchaos.environments.base import SyscallRule
from backupchaos.errors import BackupChaosError, HarnessBroken, MissingCapability
from backupchaos.faults.afterwards import came_back
from backupchaos.faults.base import Fault, Ground, Leniency
from backupchaos.faults.blows import Blows, blows
from backupchaos.faults.files import literal
from backupchaos.history import Event
from backupchaos.model.faults.files import FileSpecial
from backupchaos.trees.result import Aspect
from backupchaos.trees.spec import Feature

FOLDER = "backupchaos-special"
TYPES = {"fifo": "fifo", "socket": "socket", "device": "device", "link_loop": "symlink"}
"""What ``stat`` must say of a planted thing; the others are files."""
TOUCHES = ("open", "stat", "readlink", "access", "getxattr")


class Planted(Fault[FileSpecial]):
    """Puts one directory for each type into the source before job 2 starts, and takes them away after it.

    What a restore owes of them depends on what the target's profile promises, and on nothing else: a FIFO
    if it carries special files, a name of 255 bytes if it carries long names, and so on. What
    it owes must be in the restore as it was in the source; of the rest it may bring back anything or nothing.
    Nobody owes sockets and devices. What everybody owes is to come to an end: a FIFO without a
    writer holds whoever opens it to read, and a link to a directory above has no bottom.

    It bites when the job lists the directory of a type or looks at what is in it.
    """

    mechanism = "made in the source before the job starts"
    needs = frozenset({"syscalls"})
    cause = (
        r"\bfifos?\b|named pipe|unix(.domain)? socket|device (node|file)|special file|not a regular file|name too long"
        r"|ENAMETOOLONG|too many levels of symbolic links|ELOOP|(in)?valid utf-?8|can'?t (en|de)code"
    )

    def __init__(self, name: str, spec: FileSpecial, ground: Ground) -> None:
        super().__init__(name, spec, ground)
        self._root = f"{ground.source}/{FOLDER}"
        self._made: dict[str, list[str]] = {}
        self._parent_times: list[int] = []

    def available(self) -> None:
        """Make everything once, and take it away: what cannot be made here was asked for, or is left out."""
        left_out: dict[str, str] = self._plant()
        self._uproot()
        if left_out and (not self._made or "types" in self.spec.model_fields_set):
            reason = "; ".join(f"{kind}: {why}" for kind, why in left_out.items())
            hint = "device nodes need root" if "device" in left_out else ""
            raise MissingCapability("special files", f"they cannot be made in this sandbox: {reason}", hint)
        if left_out:
            self.mechanism += "; left out: " + ", ".join(f"{kind} ({why})" for kind, why in left_out.items())

    def rules(self) -> Sequence[SyscallRule]:
        """For each type two observers: of its directory's listing, and of whatever is in it."""
        found = []
        for kind in self._made:
            folder = literal(f"{self._root}/{kind}")
            found.append(SyscallRule(f"{self.name}.{kind}.list", ("getdents",), (folder,)))
            found.append(SyscallRule(f"{self.name}.{kind}.look", TOUCHES, (f"{folder}/*",)))
        return found

    def paths(self) -> Sequence[str]:
        """What is planted."""
        return [path for paths in self._made.values() for path in paths]

    def cause_pattern(self) -> str:
        """Words for what is special, or the directory that it lies in."""
        return f"{self.cause}|{FOLDER}"

    def apply(self) -> str:
        """Make them, and watch the job meet them."""
        self._plant()
        for rule in self.rules():
            self.ground.sandbox.arm(rule.name, True)
        return f"{', '.join(self._made)} in {FOLDER!r}"

    def verify(self) -> None:
        """The file system shows each of the right type."""
        for kind, paths in self._made.items():
            for path in paths:
                found = self.ground.sandbox.call("stat", path=f"{self.ground.source}/{path}")["type"]
                if found != TYPES.get(kind, "file"):
                    raise HarnessBroken(f"{path} is no {kind}, but a {found}")

    def changed(self) -> Mapping[str, Leniency]:
        """What must be in the restore, and what may be there in any form or not at all."""
        found: dict[str, Leniency] = {}
        for kind, paths in self._made.items():
            if self._owed(kind):
                found |= dict.fromkeys((f"{FOLDER}/{kind}", *paths), "after")
            else:
                found[f"{FOLDER}/{kind}"] = "any"
        # Where nothing in it is owed, neither is the directory: it would be an empty one.
        found[FOLDER] = "after" if "after" in found.values() else "any"
        return found

    def _owed(self, kind: str) -> bool:
        target, work = self.ground.target, self.ground.workspace
        if target is None or work is None:
            raise HarnessBroken("what the target promises is not known")
        profile = target.profile_for(work.location.kind)
        features, aspects = set(profile.features), set(profile.aspects)
        links = {Feature.SYMLINKS.value, Feature.ABSOLUTE_SYMLINKS.value}
        return {
            "fifo": Feature.SPECIAL.value in features and Aspect.TYPE.value in aspects,
            "long_name": Feature.LONG_NAMES.value in features,
            "non_utf8": Feature.NON_UTF8_NAMES.value in features,
            "link_loop": bool(links & features) and Aspect.LINKS.value in aspects,
        }.get(kind, False)

    def undo(self) -> None:
        """Take them away, and give the source's root its time again."""
        errors = []
        for rule in self.rules():
            try:
                self.ground.sandbox.arm(rule.name, False)
            except HarnessBroken as error:
                errors.append(str(error))
        try:
            self._uproot()
        except (BackupChaosError, OSError) as error:
            errors.append(str(error))
        if errors:
            raise HarnessBroken("; ".join(errors))

    def verify_undone(self) -> None:
        """Nothing of it is there any more."""
        below = self.ground.sandbox.call("list_files", root=self.ground.source)["entries"]
        left = [entry[0] for entry in below if entry[0].split("/", 1)[0] == FOLDER]
        if left:
            raise HarnessBroken(f"{left[0]} is still in the source")

    def bite(self) -> list[str]:
        """Which types the job met, by listing their directory or by a call on what is in it."""
        facts = []
        for kind in self._made:
            if met := self._met(kind):
                facts.append(f"{kind}: {len(met)} calls, the first {met[0]['call']} at {met[0].t:.3f} s")
        return facts

    def _met(self, kind: str) -> list[Event]:
        names = (f"{self.name}.{kind}.list", f"{self.name}.{kind}.look")
        return [event for event in self.syscalls(*names) if self.in_force(event.t)]

    def blows(self) -> Blows:
        """When the job came by; that it cannot do with one what it does with a file is its own affair."""
        return blows("burden", [event.t for kind in self._made for event in self._met(kind)])

    def strays(self) -> list[str]:
        """Things that are in the source again, or calls that were watched as if they were."""
        names = [rule.name for rule in self.rules()]
        return [*self.out_of_window(*names), *came_back(self)]

    def _plant(self) -> dict[str, str]:
        done: dict[str, Any] = self.ground.sandbox.call(
            "plant_specials", root=self._root, types=list(self.spec.types)
        )
        self._made, self._parent_times = done["made"], done["parent_times"]
        left_out: dict[str, str] = done["left_out"]
        return left_out

    def _uproot(self) -> None:
        self.ground.sandbox.call("uproot", root=self._root, parent_times=self._parent_times)
