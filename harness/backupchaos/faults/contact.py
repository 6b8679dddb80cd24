"""What shows that a job came into touch with files that a fault has left for it.

Where the job opens the files itself, the system call supervisor watches it. Where a server does so for
it, the supervisor sees nothing: then the link tells of answers that reached the job.
"""

from __future__ import annotations

from collections.abc import Sequence

from backupchaos.environments.base import SyscallRule
from backupchaos.errors import HarnessBroken, MissingCapability
from backupchaos.faults.base import Fault, Means, Spec
from backupchaos.faults.files import literal
from backupchaos.history import Event
from backupchaos.model.faults.base import REPOSITORY
from backupchaos.targets.base import Target, Workspace

ENOUGH = 50
"""So many touches are reported; one would do."""
TOUCHES = ("open", "unlink", "rename", "truncate")
"""System calls that have to do with what is in a file, or with its being there."""


class Contact(Fault[Spec]):
    """A fault that is there before the job, and bites when the job touches it."""

    @property
    def means(self) -> Means:
        """What the engine does for a fault; there always is somebody, except in tests of other things."""
        if self.ground.means is None:
            raise HarnessBroken(f"fault {self.name} needs somebody to run commands for it")
        return self.ground.means

    @property
    def target(self) -> Target:
        """The tool under test."""
        if self.ground.target is None:
            raise HarnessBroken(f"fault {self.name} needs the tool that is tested")
        return self.ground.target

    @property
    def work(self) -> Workspace:
        """The workspace as it is without faults."""
        if self.ground.workspace is None:
            raise HarnessBroken(f"fault {self.name} needs the workspace of the tool")
        return self.ground.workspace

    @property
    def supervised(self) -> bool:
        """Whether the supervisor can see what the job does to files."""
        return "syscalls" in self.ground.sandbox.capabilities

    @property
    def served(self) -> bool:
        """Whether a server stands between the job and the repository."""
        return self.ground.link is not None

    def need_a_witness(self, *, of_repository: bool = True) -> None:
        """Raise ``MissingCapability`` where nothing could show that the job touched the files."""
        if not self.supervised and not (of_repository and self.served):
            reason = f"only the system call supervisor could show that the job met {self.spec.kind}"
            raise MissingCapability("syscalls", reason, "see: backupchaos doctor")

    def witness(
        self, paths: Sequence[str], calls: Sequence[str] = TOUCHES, part: str = "met"
    ) -> list[SyscallRule]:
        """Rules that report what the job does to these paths; a path that ends in ``/**`` stands for all below."""
        patterns = tuple(
            literal(path.removesuffix("/**")) + ("/**" if path.endswith("/**") else "") for path in paths
        )
        if not self.supervised or not patterns:
            return []
        name = f"{self.name}.{part}"
        return [SyscallRule(name, tuple(calls), patterns, "observe", times=ENOUGH, armed=True)]

    def touches(self, part: str = "met") -> list[Event]:
        """What those rules have reported."""
        return self.syscalls(f"{self.name}.{part}")

    def repository_rules(self) -> list[SyscallRule]:
        """Watch for anything that the job opens in a local repository."""
        return [] if self.served else self.witness([f"{self.ground.repository}/**"], ("open",))

    def repository_met(self) -> list[str]:
        """The job opened files of the repository, or got answers from its server."""
        if self.served:
            events = [e for e in self._during_job("link") if e["link"] == REPOSITORY]
            answers = [e for e in events if e["ev"] == "first_byte" and e["dir"] == "down"]
            return [f"the repository's server answered the job on {len(answers)} connections"] * bool(answers)
        opened = self.touches()
        below = len(self.ground.repository) + 1
        names = list(dict.fromkeys(event["path"][below:] for event in opened if len(event["path"]) > below))
        return [f"the job opened {', '.join(names[:3])} there"] if names else []

    def _during_job(self, kind: str) -> list[Event]:
        """Events between the start and the end of the fault job."""
        history = self.ground.history
        started = next((e for e in history.of("job.start") if e["job"] == "fault"), None)
        ended = next((e for e in history.of("job.end") if e["job"] == "fault"), None)
        if started is None:
            return []
        end = ended.t if ended is not None else history.now()
        return [event for event in history.of(kind) if started.t <= event.t <= end]
