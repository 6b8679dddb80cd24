"""What changes between two jobs: the tool, its configuration."""

from __future__ import annotations

import base64
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from backupchaos.commands import Command
from backupchaos.environments.base import Place
from backupchaos.errors import HarnessBroken
from backupchaos.faults.afterwards import born_alike
from backupchaos.faults.base import Fault, JobShape
from backupchaos.faults.blows import Blows, blows
from backupchaos.faults.contact import Contact
from backupchaos.faults.version import OtherVersion
from backupchaos.model.faults.repository import ConfigDrift
from backupchaos.targets.base import Workspace

WRAPPER = """\
umask 077
{ cat /proc/$$/environ; printf 'umask=%s' "$(umask)"; } >"$0"
exec "$@"
"""
"""Becomes the job: the same process, after it has written down what the kernel says of its environment."""


class OtherConfiguration(Contact[ConfigDrift]):
    """The job starts with another HOME and other XDG directories, all empty, another language, time zone and umask.

    As after a change of the backup user, of a unit file, or of the machine's locale. The workspace's cache
    moves too, since adapters name it explicitly. The state directory, with keys and job states, stays:
    without its keys no tool could do anything, and that would be another story. What the job is like is
    read from the kernel: its process writes down its own /proc/PID/environ and umask before it becomes the tool.
    """

    mechanism = "other environment variables and umask of the job, read back from /proc"
    cause = r"\bHOME\b|XDG|config|locale|time ?zone|\bcache\b|no such file|not found|permission"
    made: Sequence[str] = ()

    @property
    def home(self) -> str:
        """The new home."""
        return posixpath.join(self.ground.sandbox.path(Place.STATE), f".backupchaos-{self.name}", "home")

    @property
    def cache(self) -> str:
        """The new cache."""
        return posixpath.join(self.ground.sandbox.path(Place.CACHE), f".backupchaos-{self.name}")

    @property
    def _record(self) -> str:
        return posixpath.join(posixpath.dirname(self.home), "environ")

    def variables(self) -> Mapping[str, str]:
        """Everything that is different; what the scenario sets comes last."""
        return {
            "HOME": self.home,
            "XDG_CONFIG_HOME": f"{self.home}/.config",
            "XDG_DATA_HOME": f"{self.home}/.local/share",
            "XDG_STATE_HOME": f"{self.home}/.local/state",
            "XDG_CACHE_HOME": self.cache,
            "LANG": "C",
            "LC_ALL": "C",
            # Half a day behind: a tool that names or sorts by local time takes the newest for the oldest.
            "TZ": "XXX+12",
            **self.spec.set,
        }

    def workspace(self, work: Workspace) -> Workspace:
        """The cache is elsewhere."""
        return replace(work, cache=self.cache)

    def shape(self) -> JobShape:
        """The variables."""
        return JobShape(env=dict(self.variables()))

    def command(self, command: Command) -> Command:
        """The umask, which only the process itself can set."""
        argv = ("/bin/sh", "-c", WRAPPER, self._record, *command.argv)
        return replace(command, argv=argv)

    def apply(self) -> str:
        """Make the new places, empty."""
        for path in (self.home, self.cache):
            self.ground.sandbox.call("make_directory", path=path, mode=0o700)
        changed = [
            f"{name}={value}" for name, value in self.variables().items() if not name.startswith("XDG")
        ]
        return f"the job has {', '.join(changed)}, other XDG directories, umask 077"

    def verify(self) -> None:
        """They are there, and empty."""
        if self._files():
            raise HarnessBroken("the new home and cache are not empty")

    def after_job(self) -> None:
        """What the job has made in the new places."""
        self.made = self._files()

    def _files(self) -> list[str]:
        found = []
        for root in (self.home, self.cache):
            entries = self.ground.sandbox.call("list_files", root=root)["entries"]
            found += [posixpath.join(root, path) for path, kind, *_ in entries if kind == "file"]
        return found

    def blows(self) -> Blows:
        """It is there all the time."""
        return blows("burden", self.spans())

    def strays(self) -> list[str]:
        """Jobs of other times that were born with the new home."""
        return born_alike(self.ground, lambda born: born["env"].get("HOME") == self.home, "the new HOME", {})

    def bite(self) -> list[str]:
        """The kernel says that the job's process had the variables and the umask."""
        got = self._environ()
        differs = [name for name, value in self.variables().items() if got.get(name) != value]
        if not self.windows or not got or differs or got.get("umask", "").lstrip("0") != "77":
            return []
        facts = [
            f"/proc/PID/environ of the job: HOME={got['HOME']}, LANG={got['LANG']}, TZ={got['TZ']}; umask 077"
        ]
        if self.made:
            facts.append(f"the job made {len(self.made)} files there, first {self.made[0]}")
        return facts

    def _environ(self) -> dict[str, str]:
        try:
            record = self.ground.sandbox.call("read_file", path=self._record)
        except OSError:
            return {}
        text = base64.b64decode(record["base64"]).decode("utf-8", "backslashreplace")
        return dict(part.split("=", 1) for part in text.split("\0") if "=" in part)


MECHANISMS: dict[str, type[Fault[Any]]] = {
    "version.drift": OtherVersion,
    "config.drift": OtherConfiguration,
}
