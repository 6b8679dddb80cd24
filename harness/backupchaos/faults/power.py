"""The power fails: everything dies at once, and what was not made safe is gone from the repository."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from typing import Any, ClassVar

from backupchaos.environments.base import Place
from backupchaos.errors import HarnessBroken
from backupchaos.faults.afterwards import signalled_jobs, too_often
from backupchaos.faults.base import Fault, Ground, Spec
from backupchaos.faults.blows import Blows, blows
from backupchaos.faults.on_volume import PATIENCE
from backupchaos.model.faults.storage import PowerCut, PowerLyingDisk
from backupchaos.units import format_size

Contents = Mapping[str, tuple[int, str]]
"""Name -> (size, digest) of everything on the volume."""


class _Power(Fault[Spec]):
    """The repository lies on an ext4 image. At the trigger the job's process tree and the server are killed, the
    file system is shut down without a flush, unmounted and mounted again; then the server starts anew.

    What was on the disk before the job is safe, as after a quiet night. The other volumes keep everything:
    this is the power of the machine that holds the repository, and the job dies because it was using it.
    """

    needs = frozenset({"volumes"})
    tries = frozenset({"image"})
    cause = r"signal|killed|power|interrupt"
    lies: ClassVar[bool]
    """The disk forgets everything since the job began, whatever it was asked to make safe."""

    def __init__(self, name: str, spec: Spec, ground: Ground) -> None:
        super().__init__(name, spec, ground)
        self._facts: list[str] = []

    def available(self) -> None:
        """Really put the repository on an image; whatever stands on the volume comes along."""
        self.ground.sandbox.use_image(Place.REPOSITORY)

    def prepare(self) -> None:
        """Make safe what is there, and remember it."""
        sandbox = self.ground.sandbox
        sandbox.remember(Place.REPOSITORY)
        self._before = sandbox.contents(Place.REPOSITORY)
        self._disk = sandbox.disk(Place.REPOSITORY)

    def apply(self) -> str:
        """Kill, cut, start again."""
        sandbox, means = self.ground.sandbox, self.ground.means
        pid = self.ground.job_pid
        if means is None or pid is None:
            raise HarnessBroken(f"fault {self.name}: the job has no process yet")
        exited = means.exits.get(pid)
        killed = sandbox.signal(pid, signal.SIGKILL, tree=True) and exited is None
        self._end_server()
        written = sandbox.contents(Place.REPOSITORY)
        cut = sandbox.cut_power(Place.REPOSITORY, forget=self.lies)
        self._judge(killed, exited, written, cut)
        if means.service_pid is not None:
            means.restart_service()
        return "; ".join(self._facts) or "the power was cut, and nothing had been written"

    def verify(self) -> None:
        """Nobody of the job lives, and the repository is mounted and can be written again."""
        alive = [p for p in self.ground.sandbox.processes() if p.role in {"target", "orphan"}]
        if alive:
            raise HarnessBroken(f"process {alive[0].pid} of the job outlived the power")
        state = self.ground.sandbox.volume(Place.REPOSITORY)
        if not state.mounted or state.read_only:
            raise HarnessBroken("the repository's file system did not come back after the cut")

    def _end_server(self) -> None:
        means = self.ground.means
        if means is None or means.service_pid is None or means.service_pid in means.exits:
            return
        self.ground.sandbox.signal(means.service_pid, signal.SIGKILL, tree=True)
        if means.wait(means.service_pid, PATIENCE) is None:
            raise HarnessBroken(f"the server, process {means.service_pid}, survived SIGKILL")

    def _judge(
        self, killed: bool, exited: tuple[int, float] | None, written: Contents, cut: Mapping[str, Any]
    ) -> None:
        """The facts. A job that had changed nothing in the repository has not met the cut."""
        changed = differing(self._before, written)
        if not changed or (not killed and exited is None):
            return
        if killed:
            self._facts.append(
                f"the running job was killed, after it had made or changed {len(changed)} entries"
            )
        elif exited is not None:
            late = (cut["at"] - exited[1]) * 1000
            self._facts.append(
                f"the file system was shut down {late:.0f} ms after the job's exit, which had changed {len(changed)} entries"
            )
        self._facts.append(loss(written, self.ground.sandbox.contents(Place.REPOSITORY)))
        flushes = cut["flushes"] - self._disk["flushes"]
        if self.lies and cut["flushes"] >= 0:
            self._facts.append(f"the disk had answered {flushes} requests to flush, and kept nothing")
        self.ground.history.append("power", lies=self.lies, flushes=flushes, facts=list(self._facts))

    def blows(self) -> Blows:
        """When the job was killed."""
        return blows("refusal", [start for start, _ in self.windows])

    def strays(self) -> list[str]:
        """A cut that was not due, a file system or a server that is down again, another job that was killed."""
        if not self.windows:
            return []
        sandbox, means = self.ground.sandbox, self.ground.means
        cuts = sandbox.disk(Place.REPOSITORY)["cuts"] - self._disk["cuts"]
        facts = [*too_often(self, cuts, "the power was cut"), *signalled_jobs(self.ground, signal.SIGKILL)]
        state = sandbox.volume(Place.REPOSITORY)
        if not state.mounted or state.read_only:
            facts.append("the repository's file system is down at the end of the run")
        if means is not None and means.service_pid is not None and means.service_pid in means.exits:
            facts.append(f"the server, process {means.service_pid}, has ended since it was started again")
        return facts

    def bite(self) -> list[str]:
        """What was cut off, and what it cost."""
        return list(self._facts)


class Cut(_Power[PowerCut]):
    """What was not synced is gone."""

    mechanism = "SIGKILL, FS_IOC_SHUTDOWN without a flush of an ext4 image, mounted again"
    lies = False


class LyingDisk(_Power[PowerLyingDisk]):
    """What was synced during the job is gone too.

    The disk takes every request to flush for done, and loses all that it was given since the job began.
    So no way to ask for durability helps: fsync, O_SYNC, msync, sync or a flush by the file system.
    """

    mechanism = "SIGKILL, an ext4 image shut down and set back to what it held before the job"
    lies = True


def differing(before: Contents, after: Contents) -> list[str]:
    """Names that are there on one side only, or with another content."""
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))


def loss(written: Contents, found: Contents) -> str:
    """What was there before the cut and is not there now, in words."""
    gone = [name for name in written if name not in found]
    changed = [name for name in written if name in found and written[name] != found[name]]
    back = [name for name in found if name not in written]
    if not gone and not changed and not back:
        return "nothing was lost: all of it had been synced"
    size = sum(written[name][0] for name in gone)
    size += sum(max(0, written[name][0] - found[name][0]) or written[name][0] for name in changed)
    parts = [f"{len(gone)} files and directories gone", f"{len(changed)} with other content"]
    parts += [f"{len(back)} that had been removed back"] if back else []
    example = (gone or changed or back)[0]
    return f"{', '.join(parts)}, {format_size(size)} lost, such as {example}"


MECHANISMS = {"power.cut": Cut, "power.lying_disk": LyingDisk}
"""From the vocabulary to the mechanisms."""
