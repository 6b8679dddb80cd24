"""What shows that a job came into touch with files that a fault has left for it.

Where the job opens the files itself, the system call supervisor watches it. Where a server does so for
it, the supervisor sees nothing: then the kernel's access times tell what the server read.
"""

from __future__ import annotations

from collections.abc import Sequence

from backupchaos.environments.base import SyscallRule
from backupchaos.errors import HarnessBroken, MissingCapability
from backupchaos.faults.base import Fault, JobShape, Means, Spec
from backupchaos.faults.files import literal
from backupchaos.history import Event
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


class RepositoryContact(Contact[Spec]):
    """Bites when the job touches what is in the repository.

    A server greets whoever comes, so that its answers prove nothing. What it reads or makes in the repository
    while the job runs is for the job; the kernel's access times tell.
    """

    _served_files: Sequence[str] = ()
    _moment = 0

    def available(self) -> None:
        """Somebody must be able to say that the job came to the repository."""
        self.need_a_witness()
        path = self.ground.repository
        if self.served and not self.ground.sandbox.call("keeps_access_times", path=path):
            reason = (
                "the repository's file system notes no access times, which alone tell what a server has read"
            )
            raise MissingCapability("access times", reason, "mount it with relatime")

    def rules(self) -> Sequence[SyscallRule]:
        """Watch for anything that the job opens in a local repository."""
        return [] if self.served else self.witness([f"{self.ground.repository}/**"], ("open",))

    def shape(self) -> JobShape | None:
        """Nothing is otherwise; but all faults of the start are in force by now, and the job comes next."""
        if self.served:
            self._moment = self.ground.sandbox.call("unread", root=self.ground.repository)
        return None

    def after_job(self) -> None:
        """What the server has read or made for the job."""
        if self.served:
            root, moment = self.ground.repository, self._moment
            self._served_files = self.ground.sandbox.call("read_since", root=root, moment=moment)

    def repository_met(self) -> list[str]:
        """The job opened files of the repository, or its server did for it."""
        if self.served:
            names = self._served_files
            return (
                [f"the repository's server read or wrote {', '.join(names[:3])} for the job"] if names else []
            )
        below = len(self.ground.repository) + 1
        opened = [event["path"][below:] for event in self.touches() if len(event["path"]) > below]
        names = list(dict.fromkeys(opened))
        return [f"the job opened {', '.join(names[:3])} there"] if names else []
