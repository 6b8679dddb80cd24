"""A repository that is not the one of the job before: an older copy of itself, or another one."""

from __future__ import annotations

import posixpath
import signal
from dataclasses import replace

from backupchaos.commands import Command
from backupchaos.environments.base import Place
from backupchaos.errors import HarnessBroken, MissingCapability
from backupchaos.faults.afterwards import too_often
from backupchaos.faults.base import Spec
from backupchaos.faults.contact import RepositoryContact
from backupchaos.model.faults.repository import RepositoryRollback, RepositorySwapped
from backupchaos.targets.base import Workspace

INIT_SECONDS = 120.0
JOB_SECONDS = 300.0
Names = dict[str, tuple[int, int]]
"""Relative path of each file -> its size and modification time."""


class Copies(RepositoryContact[Spec]):
    """Keeps whole copies of the repository's volume on the state volume, which no fault reaches."""

    def folder(self, name: str) -> str:
        """Where a copy, or something else of this fault, lies aside."""
        return posixpath.join(self.ground.sandbox.path(Place.STATE), f".backupchaos-{self.name}", name)

    def names(self, root: str) -> Names:
        """The files below a directory."""
        entries = self.ground.sandbox.call("list_files", root=root)["entries"]
        return {path: (size, changed) for path, kind, size, _, changed, _ in entries if kind == "file"}

    def set_aside(self, name: str) -> Names:
        """Copy the repository as it is now; raises ``MissingCapability`` where there is no room for that."""
        sandbox, source = self.ground.sandbox, self.ground.repository
        needed = sandbox.call("disk_usage", root=source)["allocated"]
        room = sandbox.usage(Place.STATE).free
        if needed > room * 0.9:
            reason = (
                f"{self.spec.kind} needs {needed} bytes for a second copy of the repository; {room} are free"
            )
            raise MissingCapability("space", reason, "use a smaller source")
        self._copy(source, self.folder(name))
        return self.names(source)

    strokes = 0
    """How often another repository was put in this one's place."""

    def put_in_place(self, name: str, *, stroke: bool = False) -> None:
        """The copy becomes the content of the repository's volume; a ``stroke`` if it is not the right one."""
        self.strokes += stroke
        self.clear()
        self._copy(self.folder(name), self.ground.repository)
        self.refresh_server()

    def clear(self) -> None:
        """Empty the repository's volume."""
        self.ground.sandbox.call("remove_tree", path=self.ground.repository)

    def _copy(self, source: str, destination: str) -> None:
        done = self.ground.sandbox.call("copy_tree", source=source, destination=destination)
        if done["skipped_count"] or done["unreadable_count"]:
            left_out = (*done["skipped"], *done["unreadable"])[:3]
            raise HarnessBroken(f"the repository cannot be copied in full: {left_out}")

    def refresh_server(self) -> None:
        """A server must not remember files that are gone: it is started again."""
        means, sandbox = self.means, self.ground.sandbox
        if not self.served or means.service_pid is None:
            return
        pid = means.service_pid
        sandbox.signal(pid, signal.SIGKILL, tree=True)
        if means.wait(pid, 10.0) is None:
            raise HarnessBroken("the repository's server does not end")
        means.restart_service()

    def expect_names(self, expected: Names, what: str) -> None:
        """Raise ``HarnessBroken`` unless exactly these files are in the repository's place."""
        if self.names(self.ground.repository) != expected:
            raise HarnessBroken(f"what lies in the repository's place is not {what}")

    def strays(self) -> list[str]:
        """It was exchanged without that being due."""
        return too_often(self, self.strokes, "the repository was exchanged")

    def bite(self) -> list[str]:
        """The job opened what lay there, or its server did for it."""
        return self.repository_met() if self.windows else []


class Rollback(Copies[RepositoryRollback]):
    """The tool does one more job, and then the repository from before that job is put back.

    The tool's cache and state have moved on, the repository has not: as after a restored virtual machine, a
    storage snapshot that was rolled back, or a synchronised copy that lags. The snapshot of job 1 is in it.
    """

    mechanism = "the repository as it was before one more job, put back"
    cause = (
        r"\b(newer|older) than\b|roll(ed)?[ -]?back|replay|attack|out of (date|sync)|not found|missing|no such file"
        r"|does(n't| not) (match|exist)|unknown (pack|chunk|blob|snapshot|id)"
    )
    again = 0

    def prepare(self) -> None:
        """Copy the repository, and let the tool work on."""
        self.older = self.set_aside("older")
        done = self.means.run(self.target.backup(self.work), what="one more job", timeout=JOB_SECONDS)
        profile = self.target.profile_for(self.work.location.kind)
        if done.timed_out or profile.outcome(done.returncode) != "success":
            raise HarnessBroken(
                f"the job before the rollback failed (exit {done.returncode}): {done.output[-300:]}"
            )
        newer = self.names(self.ground.repository)
        self.behind = sorted(set(newer) - set(self.older))
        if newer == self.older:
            raise HarnessBroken("the job before the rollback changed nothing in the repository")

    def apply(self) -> str:
        """Put the older copy back."""
        self.put_in_place("older", stroke=True)
        return f"the repository is one job older than the tool's own memory; {len(self.behind)} files are not there"

    def verify(self) -> None:
        """Exactly the older files are there."""
        self.expect_names(self.older, "the older copy")

    def after_job(self) -> None:
        """What the job has stored again."""
        super().after_job()
        self.again = len(set(self.behind) & set(self.names(self.ground.repository)))

    def bite(self) -> list[str]:
        """The job opened the older copy; files that it stored once more tell that it noticed."""
        facts = super().bite()
        if facts and self.again:
            facts.append(f"{self.again} of the {len(self.behind)} missing files were stored again")
        return facts


class Swapped(Copies[RepositorySwapped]):
    """The wrong disk: another repository of the same tool, new and empty, stands in this one's place.

    A tool may refuse it, loudly; or make a full backup into it, and then that claim must be true *there*. So
    it stays until what the job claims has been restored and compared, and only then, before the recovery job,
    does the real repository come back. It must be as it was: the snapshots from before, and a next job that works.
    A job that claims nothing gets the real repository back at once. The other repository is made with a cache
    and a state of its own, so that the tool under test has never met it.
    """

    mechanism = "another repository of the same tool, made by its own init"
    cause = (
        r"(another|other|different|wrong|unknown|unexpected) (repositor|id\b|uuid|disk|volume)|repositor\w* (id|uuid)"
        r"|repositor\w* .{0,40}(changed|moved|located|relocated|replaced|mismatch)|previously (known|located|unknown)"
        r"|does not match|not (found|initiali[sz]ed)|no (previous|older) snapshot|empty"
    )

    def prepare(self) -> None:
        """Let the tool make the other repository, with the real one out of the way."""
        self.own = self.set_aside("own")
        self.clear()
        if self.work.location.kind == "local":
            self.ground.sandbox.call("make_directory", path=self.work.location.path)
        self.refresh_server()
        for command in self.target.init(self._stranger()):
            self._init(command)
        self.other = self.set_aside("other")
        self.put_in_place("own")

    def _stranger(self) -> Workspace:
        """A workspace of somebody else with the same password."""
        cache, temp, state = (self.folder(f"stranger/{name}") for name in ("cache", "temp", "state"))
        for folder in (cache, temp, state):
            self.ground.sandbox.call("make_directory", path=folder)
        return replace(self.work, cache=cache, temp=temp, state=state)

    def _init(self, command: Command) -> None:
        home = self.folder("stranger/state")
        env = {"HOME": home, "XDG_CACHE_HOME": self.folder("stranger/cache")}
        env |= {f"XDG_{name}_HOME": f"{home}/{name.lower()}" for name in ("CONFIG", "DATA", "STATE")}
        done = self.means.run(command, what="init of another repository", timeout=INIT_SECONDS, env=env)
        if not done.ok:
            raise HarnessBroken(
                f"another repository could not be made (exit {done.returncode}): {done.output[-300:]}"
            )

    def apply(self) -> str:
        """Exchange them."""
        self.put_in_place("other", stroke=True)
        made = (
            f"made by init ({len(self.other)} files)"
            if self.other
            else "an empty directory, as there is no init"
        )
        return f"another repository in this one's place, {made}; the real one lies aside until the claim is judged"

    def verify(self) -> None:
        """The other one is there, and nothing of the real one."""
        self.expect_names(self.other, "the other repository")

    def undo(self) -> None:
        """The real repository comes back."""
        self.put_in_place("own")

    def verify_undone(self) -> None:
        """It is as it was."""
        self.expect_names(self.own, "the real repository")

    def strays(self) -> list[str]:
        """Files of the other repository that lie in the real one's place after that came back."""
        facts = super().strays()
        if self.undone_at is None:
            return facts
        now = self.names(self.ground.repository)
        foreign = [path for path, found in self.other.items() if now.get(path) == found != self.own.get(path)]
        return facts + [
            f"{path} of the other repository lies in the real one's place" for path in foreign[:3]
        ]
