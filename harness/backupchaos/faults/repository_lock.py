"""The lock of a job that was killed: a real one, left by the tool under test itself."""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping, Sequence

from backupchaos.commands import Command
from backupchaos.environments.base import SyscallRule
from backupchaos.errors import HarnessBroken, MissingCapability
from backupchaos.faults.blows import Blows, blows
from backupchaos.faults.contact import ENOUGH, Contact
from backupchaos.faults.files import literal
from backupchaos.faults.repository import EMPTY
from backupchaos.history import Event
from backupchaos.model.faults.repository import RepositoryStaleLock

LOCKISH = re.compile(r"(?:^|[./_-])locks?(?:ed|file)?(?:[./_-]|$)", re.IGNORECASE)
"""Names of locks, and of directories that hold them."""
CHANGES = ("write", "create", "rename", "mkdir", "link", "symlink", "fsync")
"""System calls by which a job leaves something in a repository."""
NEAR = "*[lL][oO][cC][kK]*"
TOUCHED = ("open", "stat", "access", "unlink", "rename", "readlink")
LISTED = ("getdents", "rename", "mkdir", "link")
ELSEWHERE = "elsewhere"
"""The host of the dead job, if it was another one."""
HOST_VARIABLE = re.compile(r"(?:^|_)HOST(?:_?ID|NAME)$")
"""Variables by which an adapter tells a tool on which host it is."""
NOBODY = -1
"""Waiting for the process of this number lets time pass, and events come in."""
POLL = 0.02
STOPS = 300
"""So often the job is stopped for a look; then it may go on to its end."""
JOB_SECONDS = 120.0
FIRST_STOP = 16 * 1024
"""Bytes over the link after which the job is stopped for the first time, to look for its lock."""


class StaleLock(Contact[RepositoryStaleLock]):
    """The tool's own backup runs beside, is stopped in mid-work once its lock lies in the repository, and killed.

    What else the dead job had stored by then stays there, as it would. The lock is nobody's to take away again:
    a tool may see that its owner is dead, or a person runs its unlock.
    """

    mechanism = "the tool's own job, killed while it held its lock"
    cause = r"\block(s|ed|file)?\b|\bunlock|another (job|process|backup|instance)|already (running|in use)"
    locks: list[str]
    _pid = 0
    _were: Mapping[str, str | None] = {}
    _after: Mapping[str, str | None] = {}
    """The locks' contents before the job, and after it."""
    _atimes: Mapping[str, int | None] = {}
    """Behind a server: when the locks, and the directories that hold them, were last read."""

    def available(self) -> None:
        """It takes a supervisor or a link to stop the job in time, and its own host name for another host."""
        if not self.served:
            self.need_a_witness()
        if self.spec.host == "other":
            self._need_another_host()

    def _need_another_host(self) -> None:
        """Try it: a sandbox that ignores the wish would leave a lock of this host."""
        history, what = self.ground.history, "which host is this"
        try:
            self.means.start(Command(("uname", "-n")), what=what, hostname=ELSEWHERE)
        except HarnessBroken as error:
            raise MissingCapability(
                "hostname", f"no process can have another host name here: {error}"
            ) from None
        said: list[str] = []
        for _ in range(int(5.0 / POLL)):
            said = [event["text"].strip() for event in history.of("beside") if event["what"] == what]
            if said:
                break
            self.means.wait(NOBODY, POLL)
        if said != [ELSEWHERE]:
            reason = f"no process can have another host name here: it is {said or 'not told'}"
            raise MissingCapability("hostname", reason, "see: backupchaos doctor")

    def lockish(self) -> set[str]:
        """Files of the repository's volume that are locks by their names."""
        entries = self.ground.sandbox.call("list_files", root=self.ground.repository)["entries"]
        return {path for path, kind, *_ in entries if kind != "directory" and LOCKISH.search(path)}

    def prepare(self) -> None:
        """Let a job die at its work; raises ``MissingCapability`` if the tool leaves no lock then."""
        before = self.lockish()
        self._let_one_die(before)
        self.locks = sorted(self.lockish() - before)
        if not self.locks:
            raise MissingCapability(
                "lock", f"target {self.target.name} leaves no lock when its job is killed"
            )

    # -- the job that dies ---------------------------------------------------------------------

    def _let_one_die(self, before: set[str]) -> None:
        command, host = self.target.backup(self.work), None
        if self.spec.host == "other":
            env = {k: ELSEWHERE + v if HOST_VARIABLE.search(k) else v for k, v in command.env.items()}
            command = Command(command.argv, env, command.cwd, command.stdin, command.secrets)
            host = ELSEWHERE
        link = self.ground.link
        if link is not None:
            link.mark()
            self._key = link.arm(FIRST_STOP, action="hold", since="mark")
        rules = () if self.served else self._stops()
        pid = self.means.start(command, what="a job that will be killed", rules=rules, hostname=host)
        try:
            stop = self._wait_at_link(pid, before) if self.served else self._wait_at_calls(pid, before)
        finally:
            self.ground.sandbox.signal(pid, signal.SIGKILL, tree=True)
            if link is not None:
                link.disarm(self._key)
                link.release()
        self._pid = pid
        if self.means.wait(pid, 10.0) is None:
            raise HarnessBroken("the job that was to leave its lock does not die")
        self.ground.history.append("note", text=f"a job was killed: {stop}")

    def _stops(self) -> list[SyscallRule]:
        below = literal(self.ground.repository)
        near, any_ = f"{self.name}.near", f"{self.name}.work"
        return [
            SyscallRule(near, CHANGES, (f"{below}/{NEAR}",), "hold", armed=True),
            SyscallRule(any_, CHANGES, (f"{below}/**",), "hold"),
        ]

    def _wait_at_calls(self, pid: int, before: set[str]) -> str:
        """Until the job writes something else into the repository with its lock in place.

        The first call that has to do with a lock's name arms the stop at every change; from then on the job
        is stopped at each of them for a look. A job that never comes near such a name runs to its end.
        """
        seen = 0
        near, work = (rule.name for rule in self._stops())
        for _ in range(int(JOB_SECONDS / POLL)):
            ended = self.means.wait(pid, POLL) is not None
            stopped = self.syscalls(near, work, action="hold")
            fresh, seen = stopped[seen:], len(stopped)
            if ended:
                return "it ended before it left a lock"
            for event in fresh:
                if event["rule"] == work and not self._is_lock(event["path"]) and self.lockish() - before:
                    return f"at its {event['call']} of {event['path']}"
                self._let_go_on(near, work, event, last=seen >= STOPS)
        return f"it worked for {JOB_SECONDS:g} s and took no lock"

    def _let_go_on(self, near: str, work: str, event: Event, *, last: bool) -> None:
        sandbox = self.ground.sandbox
        if last:
            sandbox.arm(near, False)
            sandbox.arm(work, False)
        elif event["rule"] == near and self._is_lock(event["path"]):
            sandbox.arm(work, True)
            sandbox.arm(near, False)
        else:
            sandbox.release(event["rule"])

    def _is_lock(self, path: str) -> bool:
        """By its name below the repository's volume."""
        return LOCKISH.search(path[len(self.ground.repository) :]) is not None

    def _wait_at_link(self, pid: int, before: set[str]) -> str:
        """Until its lock lies on the server; the link stops it at twice as many bytes each time."""
        link, sent = self.ground.link, FIRST_STOP
        assert link is not None
        for _ in range(int(JOB_SECONDS / POLL)):
            if self.means.wait(pid, POLL) is not None:
                return "it ended before it left a lock"
            history = self.ground.history.of("link")
            if not any(e["ev"] == "trigger" and e.get("arm") == self._key for e in history):
                continue
            if self.lockish() - before:
                return f"after {sent} bytes over the link"
            sent *= 2
            self._key = link.arm(sent, action="hold", since="mark")
            link.release()
        return f"it worked for {JOB_SECONDS:g} s and took no lock"

    # -- the fault -----------------------------------------------------------------------------

    def _paths(self) -> list[str]:
        return [f"{self.ground.repository}/{lock}" for lock in self.locks]

    def _parents(self) -> list[str]:
        """Directories that hold nothing but locks: whoever lists one looks for them."""
        found = {path.rsplit("/", 1)[0] for path in self._paths()}
        return sorted(path for path in found if self._is_lock(path))

    def rules(self) -> Sequence[SyscallRule]:
        """Watch what the job does about the locks, and about the directories that hold them."""
        if self.served:
            return ()
        return [
            *self.witness(self._paths(), TOUCHED),
            *self.witness(self._parents(), LISTED, part="listed"),
        ]

    def apply(self) -> str:
        """They lie there already; behind a server the kernel's access times will tell who looks."""
        host = "another host" if self.spec.host == "other" else "this host"
        if self.served:
            looked_at = [*self._paths(), *self._parents()]
            done = self.means.run(Command(("touch", "-a", "-d", "@0", *looked_at)), what="reset access times")
            if not done.ok:
                raise HarnessBroken(f"the locks' access times cannot be set: {done.output[-200:]}")
            self._atimes = {path: self._atime(path) for path in looked_at}
        return f"left by a dead job of {host}: {', '.join(self.locks[:5])}"

    def _atime(self, path: str) -> int | None:
        """None if it is gone. Asking does not count as reading, while a listing of ours would."""
        try:
            return int(self.ground.sandbox.call("stat", path=path)["atime_ns"])
        except OSError:
            return None

    def verify(self) -> None:
        """They are there, and the job that left them is not."""
        for path in self._paths():
            if self._atime(path) is None:
                raise HarnessBroken(f"the lock {path} is gone before the job starts")

        self._were = self._contents()

    def left(self) -> list[str]:
        """Those that nobody has taken away yet."""
        return sorted(set(self.locks) & self.lockish())

    def _contents(self) -> dict[str, str | None]:
        """Path -> digest of each lock that is there and not empty: who it is, since it names its owner and the time."""
        call = self.ground.sandbox.call
        found = {path: call("digest", path=path) for path in self._paths() if self._atime(path) is not None}
        return {path: digest for path, digest in found.items() if digest != EMPTY}

    def blows(self) -> Blows | None:
        """When the job looked at the locks; who takes them away has got over them. Nobody knows when a server did."""
        seen = [*self.touches(), *self.touches("listed")]
        if self.served or len(seen) >= ENOUGH:
            return super().blows()
        return blows("refusal", [e.t for e in seen if not e["call"].startswith(("unlink", "rename"))])

    def strays(self) -> list[str]:
        """The dead job's lock is there again, although somebody had taken it away; or the dead job lives."""
        if not self.windows:
            return []
        gone = self._were.items() - self._after.items()
        facts = [
            f"{path} had been taken away, and is there again"
            for path in dict(gone & self._contents().items())
        ]
        if self._pid not in self.means.exits:
            facts.append(f"the dead job, process {self._pid}, lives")
        return facts

    def after_job(self) -> None:
        """Which of them the server has read, listed or removed for the job."""
        self._after = self._contents()
        self._read = [path for path, was in self._atimes.items() if self._atime(path) != was]

    def bite(self) -> list[str]:
        """The job opened, asked for, listed or removed what the dead one had left."""
        below = len(self.ground.repository) + 1
        if not self.windows:
            return []
        if self.served:
            return [f"its server read or removed {path[below:]} for the job" for path in self._read[:3]]
        seen = [*self.touches(), *self.touches("listed")]
        told = dict.fromkeys(f"the job met the lock: {e['call']} of {e['path'][below:]}" for e in seen)
        return list(told)[:5]
