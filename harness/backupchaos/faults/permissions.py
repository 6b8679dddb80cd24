"""Files and volumes that the job may not open."""

from __future__ import annotations

import errno
import os
import pwd
import re
import signal
from collections.abc import Sequence

from backupchaos.commands import Command
from backupchaos.environments.base import Place, SyscallRule
from backupchaos.errors import HarnessBroken, MissingCapability, UsageProblem
from backupchaos.faults.base import SETTLE, Ground, Means
from backupchaos.faults.blows import Blows, refusals
from backupchaos.faults.files import OnFiles, literal
from backupchaos.faults.overrides import can_open, need_obedience
from backupchaos.history import Event
from backupchaos.model.faults.files import PermissionDenied

USERS = ("backup", "daemon", "bin", "nobody")
"""Ordinary users that most machines know, the best first: ssh refuses a uid without a name."""
NEEDS_SEARCH = (
    "mkdir",
    "rename",
    "unlink",
    "link",
    "symlink",
    "access",
    "readlink",
    "mknod",
)
"""Calls that find their file by name, and that a closed directory above it therefore refuses."""
LOOKS = "stat"
"""Also a way to look at an open file, so that it proves nothing while somebody has one open."""
BY_HTTP = r"\b(403|404|405|409|500)\b|internal (server )?error|does not exist|NoSuch(Key|Bucket)"
"""What servers make of a refusal by their own file system."""
PATIENCE = 10.0


class Denied(OnFiles[PermissionDenied]):
    """Mode 000, and jobs without the capabilities that override modes.

    ``by: root`` takes the overrides from root's jobs, not from what restores and checks their work; ``by: user``
    runs every command of the target as an ordinary user who owns the files. On the source picked files are denied;
    elsewhere every directory of the volume, since a process that stands in one does not need those above. A remote
    repository's directories are denied to the server, which is started anew without overrides before the first job.

    It bites when a call that needs the permission is made while it is gone: the supervisor sees the call,
    and that the kernel refuses it follows from the modes. Where there is no supervisor the words of
    the job or the server are all there is, and ``mechanism`` says so.
    """

    mechanism = "chmod 000, CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH dropped"
    ways = ("root", "user")
    way_key = "by"
    cause = r"permission denied|\bEACCES\b|\bEPERM\b|not permitted|access denied|\bforbidden\b"
    drop_dac = True

    def __init__(self, name: str, spec: PermissionDenied, ground: Ground) -> None:
        super().__init__(name, spec, ground)
        self.picked = []
        self._modes: dict[str, int] = {}
        self._untouched: int | None = None
        self._watched = "syscalls" in ground.sandbox.capabilities
        self._served = spec.place == "repository" and ground.link is not None
        if spec.by == "user":
            # Without namespaces of its own the sandbox is whoever runs the harness: a user already.
            ours = os.geteuid() if ground.sandbox.mechanism == "plain" else 0
            self.drop_dac, self.user = False, None if ours else ordinary_user()
            self.mechanism = f"chmod 000, every job as the ordinary user {_name(self.user or ours)}"
        if self._served:
            self.mechanism += "; the server without overrides too"
        if not self._watched:
            self.mechanism += "; no supervisor here, so that the proof is what the job says"

    # -- before the job --------------------------------------------------------------------------

    def available(self) -> None:
        """Try to be the user; start a server without overrides, and see that modes hold for whoever is denied; note
        how the cache looks before any job.
        """
        if self.user is not None:
            self._try_user(self.user)
        if self._served:
            self._restart_server()
        who = "the server" if self._served else "a job"
        need_obedience(self.ground.sandbox, self.name, self._as_denied, f"{who} without overrides")
        if self.spec.place == "cache" and not self._keeps_cache():
            raise MissingCapability("cache", "the target keeps no cache")
        if self.spec.place in ("cache", "temp"):
            self._untouched = self._touched()

    def prepare(self) -> None:
        """Pick the files, or see that the jobs so far have used the volume at all."""
        if self.spec.place == "source":
            self.picked = self.choose(self.spec.pick, self.spec.files)
        elif self._untouched is not None and self._touched() == self._untouched:
            reason = f"no command of the target has put anything into its {self.spec.place} directory so far"
            raise MissingCapability(self.spec.place, reason)

    def rules(self) -> Sequence[SyscallRule]:
        """Watch the job, where it is the job that is denied."""
        return () if self._served else self._watch()

    # -- in force --------------------------------------------------------------------------------

    def apply(self) -> str:
        """Take all permissions away, then watch."""
        sandbox = self.ground.sandbox
        self._modes = {}
        if self.spec.place == "source":
            for path in map(self.full, self.picked):
                self._modes[path] = sandbox.call("chmod", path=path, mode=0)["before"]
        else:
            done = sandbox.call("deny_tree", root=self._volume)
            self._modes = dict(zip(done["paths"], done["modes"], strict=True))
        for rule in self._watch():
            sandbox.arm(
                rule.name, rule.name != self._looks or not sandbox.call("held_open", root=self._volume)
            )
        if self.spec.place == "source":
            return f"no permissions on {self.shown()}"
        return f"no permissions on the {self.spec.place} volume and its {len(self._modes) - 1} directories"

    def verify(self) -> None:
        """The file system shows mode 000; of a closed tree its root, which nobody passes. Whoever is denied cannot
        open it, tried with the rights that all jobs of the run have.
        """
        closed = list(self._modes) if self.spec.place == "source" else [self._volume]
        for path in closed:
            mode = self.ground.sandbox.call("stat", path=path)["mode"]
            if mode & 0o7777:
                raise HarnessBroken(f"{path} still has mode {mode & 0o7777:o}")
        if can_open(closed[0], self._as_denied):
            who = "the server" if self._served else "a job"
            raise HarnessBroken(f"{who} can open {closed[0]}, whose mode is 000: it keeps CAP_DAC_OVERRIDE")

    def undo(self) -> None:
        """Stop watching, and give every mode back, each even if another fails."""
        errors = []
        for rule in self._watch():
            try:
                self.ground.sandbox.arm(rule.name, False)
            except HarnessBroken as error:
                errors.append(str(error))
        errors += self.ground.sandbox.call(
            "allow_tree", paths=list(self._modes), modes=list(self._modes.values())
        )
        if errors:
            raise HarnessBroken("; ".join(errors))

    def verify_undone(self) -> None:
        """The file system shows the modes of before."""
        for path, mode in self._modes.items():
            now = self._mode(path)
            if now is None:
                continue  # the job has removed it since: it was a directory of its own
            if now != mode & 0o7777:
                raise HarnessBroken(f"{path} has mode {now:o}, not {mode & 0o7777:o}")

    # -- afterwards ------------------------------------------------------------------------------

    def cause_pattern(self) -> str:
        """Words for a refusal, or a file's name; by HTTP all that a client hears of it is a status."""
        work = self.ground.workspace
        if self._served and work is not None and work.location.kind in ("s3", "rest", "webdav"):
            return f"{self.cause}|{BY_HTTP}"
        return f"{self.cause}|{self.names()}" if self.picked else self.cause

    def bite(self) -> list[str]:
        """Calls that the modes refuse; without a supervisor, words about a refusal."""
        if not self._watched:
            return self._words()
        seen = self._seen()
        if not seen:
            return []
        who = "the server" if self._served else "the job"
        first = seen[0]
        what = "a file with mode 000" if self.picked else "a directory with mode 000 or below one"
        return [f"{len(seen)} calls of {who} on {what}, the first {first['call']} at {first.t:.3f} s"]

    def blows(self) -> Blows | None:
        """When the supervisor saw the calls; without it nobody knows."""
        if not self._watched:
            return super().blows()
        return refusals(self._seen(), until=self.window()[1])

    def _seen(self) -> list[Event]:
        found = self.syscalls(self._rule, self._searches, self._looks)
        return [event for event in found if self.in_force(event.t, slack=0.0)]

    def strays(self) -> list[str]:
        """What is closed again, or still, after all permissions were given back."""
        if self.undone_at is None:
            return []
        closed = [path for path, mode in self._modes.items() if mode & 0o7777 and self._mode(path) == 0]
        words = [
            f"{path} has mode 000 at the end of the run, and had {self._modes[path] & 0o7777:o}"
            for path in closed
        ]
        return [*self.out_of_window(self._rule, self._searches, self._looks), *words]

    def _mode(self, path: str) -> int | None:
        """None if it is no longer there."""
        try:
            return int(self.ground.sandbox.call("stat", path=path)["mode"]) & 0o7777
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise
            return None

    def _words(self) -> list[str]:
        told: list[Event] = [
            event
            for event in self.ground.history.of("log", "service")
            if self.in_force(event.t, slack=SETTLE) and re.search(self.cause, event["text"], re.IGNORECASE)
        ]
        if not told:
            return []
        return [f"{len(told)} messages about permissions, first: {told[0]['text'][:300]!r}"]

    # -- helpers ---------------------------------------------------------------------------------

    @property
    def _volume(self) -> str:
        return self.ground.sandbox.path(Place(self.spec.place))

    @property
    def _rule(self) -> str:
        return f"{self.name}.watch"

    @property
    def _searches(self) -> str:
        return f"{self.name}.searches"

    @property
    def _looks(self) -> str:
        return f"{self.name}.looks"

    def _watch(self) -> list[SyscallRule]:
        if not self._watched:
            return []
        if self.spec.place == "source":
            return [
                SyscallRule(self._rule, ("open",), tuple(literal(self.full(path)) for path in self.picked))
            ]
        volume = literal(self._volume)
        return [
            SyscallRule(self._rule, ("open",), (f"{volume}/**",)),
            SyscallRule(self._searches, NEEDS_SEARCH, (f"{volume}/*",)),
            SyscallRule(self._looks, (LOOKS,), (f"{volume}/*",)),
        ]

    def _touched(self) -> int:
        return int(self.ground.sandbox.call("stat", path=self._volume)["mtime_ns"])

    def _keeps_cache(self) -> bool:
        target, work = self.ground.target, self.ground.workspace
        return target is None or work is None or bool(target.cache_files(work))

    def _means(self) -> Means:
        if self.ground.means is None:
            raise HarnessBroken("there is nobody to start and stop processes")
        return self.ground.means

    def _as_denied(self, command: Command) -> int | None:
        """Run a command as the server runs, or as the jobs of the run do; before there are any, as they will."""
        means = self._means()
        if self._served:
            rights = {"drop_dac": means.service_shape.get("drop_dac", False)}
            pid = self.ground.sandbox.spawn(command, role="service", **rights)
        elif self.windows:
            done = means.run(command, what="an open of what is denied", role="target", timeout=PATIENCE)
            return done.returncode
        else:
            rights = {"drop_dac": self.drop_dac}
            pid = self.ground.sandbox.spawn(command, role="target", user=self.user, **rights)
        return means.wait(pid, PATIENCE)

    def _try_user(self, user: int) -> None:
        """Some machines allow no user name space within the sandbox."""
        try:
            self.ground.sandbox.spawn(Command(("true",)), role="tool", user=user)
        except UsageProblem as problem:
            reason = f"a job cannot be run as user {_name(user)} here: {problem}"
            raise MissingCapability("ordinary user", reason) from None

    def _restart_server(self) -> None:
        """The same server without overrides, and watched, for all jobs of the run."""
        means = self._means()
        old = means.service_pid
        if old is None:
            raise HarnessBroken("the repository is remote, but has no server")
        means.service_shape.update(drop_dac=True, rules=self._watch())
        self.ground.sandbox.signal(old, signal.SIGKILL, tree=True)
        if means.wait(old, PATIENCE) is None:
            raise HarnessBroken(f"the server (pid {old}) did not end")
        means.restart_service()


def ordinary_user() -> int:
    """The uid of a user that this machine knows by name, and that is not root."""
    for name in USERS:
        try:
            found = pwd.getpwnam(name).pw_uid
        except KeyError:
            continue
        if found:
            return found
    return 1000


def _name(uid: int) -> str:
    try:
        return f"{pwd.getpwuid(uid).pw_name} ({uid})"
    except KeyError:
        return str(uid)


MECHANISMS = {"permission.denied": Denied}
