"""What an adapter must say about a backup tool.

An adapter is a small pure object: it returns commands and understands output. It promises
only what its tool promises (``Profile``), because the harness holds it to exactly that.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from backupchaos.commands import Command, Completed

RepositoryType = Literal["local", "sftp", "s3", "rest", "webdav"]
WARNS = re.compile(r"[\s\[(<]*warn(?:ing)?\b", re.IGNORECASE)
"""How a line begins that is a warning by its own word, whatever error it goes on to quote."""
DatabaseKind = Literal["redis", "postgres", "mariadb"]
SCHEMES: Mapping[DatabaseKind, str] = {"redis": "redis", "postgres": "postgresql", "mariadb": "mysql"}
"""What the URL of a service begins with, as its clients expect it."""


@dataclass(frozen=True)
class Location:
    """Where the repository is, as the target reaches it (through the link, if it is remote).

    ``path`` is a directory (local, sftp), a bucket with an optional prefix (s3) or a URL path
    (rest, webdav). ``host_key`` is an OpenSSH public key line of the SFTP server. ``key_file`` is a
    private key that opens the same SFTP account, for clients that take no password, and where ``password`` is
    empty the only way in; a file ``known_hosts`` beside it names the server under any address. For s3, ``user`` and ``password``
    are the access key and the secret.
    """

    kind: RepositoryType
    path: str
    host: str = ""
    port: int = 0
    user: str = ""
    password: str = ""
    host_key: str = ""
    key_file: str = ""


@dataclass(frozen=True)
class Tier:
    """Where a service besides the repository is, as the target reaches it, through a link of its own.

    ``database`` is the one that the account may use: a name, and for redis a number.
    """

    kind: DatabaseKind
    host: str
    port: int
    user: str
    password: str
    database: str

    @property
    def url(self) -> str:
        """All of it in one word; the secrets of a run need no quoting."""
        account = f"{self.user}:{self.password}@{self.host}:{self.port}"
        return f"{SCHEMES[self.kind]}://{account}/{self.database}"

    def values(self) -> dict[str, str]:
        """By the words of placeholders and variables: ``host port user password database url``."""
        parts = {"host": self.host, "port": str(self.port), "user": self.user, "password": self.password}
        return {**parts, "database": self.database, "url": self.url}


TIER_WORDS = ("host", "port", "user", "password", "database", "url")
"""What ``Tier.values`` has: the words behind the dot in ``{catalog.host}``, in lower case."""


def tier_variables(services: Mapping[str, Tier]) -> dict[str, str]:
    """The variables that tell a job where its services are: ``BACKUPCHAOS_CATALOG_URL`` and so on."""
    return {
        f"BACKUPCHAOS_{name.upper()}_{word.upper()}": value
        for name, tier in services.items()
        for word, value in tier.values().items()
    }


@dataclass(frozen=True)
class Workspace:
    """The directories, the repository and the other services of one run, as the target sees them."""

    source: str
    location: Location
    cache: str
    temp: str
    state: str
    restore: str
    password: str
    """The repository's encryption password."""
    services: Mapping[str, Tier] = field(default_factory=dict)
    """By the scenario's names for them; every job finds them in its environment, too (``tier_variables``)."""


@dataclass(frozen=True)
class LogRecord:
    """One line of output, understood.

    ``level`` is ``info``, ``warning`` or ``error``; ``retry`` says the line announces another
    attempt; ``delay`` is the announced pause in seconds; ``state`` is a state the job entered.
    """

    level: str
    message: str
    retry: bool = False
    delay: float | None = None
    state: str | None = None
    trace_id: str | None = None
    status_code: int | None = None
    structured: bool = False
    link: str = ""


@dataclass(frozen=True)
class Refinement:
    """How a profile changes one scenario's expectations, and why; the report prints the reason."""

    reason: str
    expect: Mapping[str, Any] = field(default_factory=dict)
    waive: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Profile:
    """What the tool speaks, promises and means by its exit codes.

    ``exit_codes`` maps codes to an outcome; any other non-zero code is a failure. ``aspects`` are
    the metadata a restore must bring back (names of ``backupchaos.trees.compare``). ``features``
    are the things a generated source tree may hold (names of ``backupchaos.trees.generate``).
    ``history`` is false for mirrors, which keep only the newest state. ``retries`` says where
    another attempt of this tool is seen best: its ``log``, or the ``link``. ``states``: ``own`` if
    ``states()`` asks the job itself, else they are derived. ``uses`` are the services besides the repository
    that the tool can work with, each with the kinds that it speaks, the preferred first; none stands for
    any kind. Those of them in ``needs`` it cannot do without: every scenario gets them.
    """

    speaks: tuple[RepositoryType, ...]
    aspects: frozenset[str]
    features: frozenset[str]
    exit_codes: Mapping[int, str] = field(default_factory=lambda: {0: "success"})
    history: bool = True
    retries: Literal["log", "link"] = "link"
    states: Literal["own", "derived"] = "derived"
    log_fields: tuple[str, ...] = ()
    """Fields that every record on standard error promises: ``trace_id``, ``status_code``, ``timestamp``."""
    mtime_granularity_ns: int = 1
    refinements: Mapping[str, Refinement] = field(default_factory=dict)
    """By scenario name."""
    uses: Mapping[str, tuple[DatabaseKind, ...]] = field(default_factory=dict)
    needs: frozenset[str] = frozenset()
    knows_retries: bool = True
    """Which lines announce a retry is known (``LogRecord.retry``); else those are looked at that sound like one."""

    def outcome(self, returncode: int) -> str:
        """``success``, ``partial`` or ``failure`` for an exit code; signals are failures."""
        return self.exit_codes.get(returncode, "failure")


class Target(Protocol):
    """A backup tool. Every method is pure; commands are run by the engine inside the sandbox."""

    name: str
    profile: Profile
    """What holds for every kind of repository that the tool speaks."""

    def profile_for(self, kind: RepositoryType) -> Profile:
        """The profile for one kind of repository: the same, or one that promises more."""

    def available(self) -> None:
        """Raise ``MissingCapability`` if the tool cannot be run on this machine."""

    def expose(self) -> Sequence[str]:
        """Host paths that must be visible in the sandbox (the user's script, say)."""

    def version(self) -> Command:
        """Prints the tool's version on its first line."""

    def parse_version(self, done: Completed) -> str:
        """The version in that output."""

    def init(self, work: Workspace) -> Sequence[Command]:
        """Create the repository; may be empty."""

    def backup(self, work: Workspace) -> Command:
        """Run one job."""

    def snapshots(self, work: Workspace) -> Command | None:
        """List what can be restored; None for a mirror."""

    def parse_snapshots(self, done: Completed) -> list[str]:
        """Snapshot names, oldest first; raises ValueError if the output is not understood."""

    def restore(self, work: Workspace, snapshot: str) -> Command:
        """Restore into the empty directory ``work.restore``; ``snapshot`` is ``latest`` for a mirror."""

    def restored_root(self, work: Workspace) -> str:
        """The directory below (or equal to) ``work.restore`` that corresponds to the source's root."""

    def check(self, work: Workspace) -> Command | None:
        """The deepest check of the repository that the tool has, or None."""

    def unlock(self, work: Workspace) -> Command | None:
        """Remove stale locks, or None."""

    def prune(self, work: Workspace) -> Command | None:
        """Remove what no snapshot needs, and keep every snapshot; or None."""

    def cache_files(self, work: Workspace) -> Sequence[str]:
        """Directories of the tool's cache; empty if it keeps none."""

    def drifted(self, work: Workspace) -> Command | None:
        """The job as another version of the tool does it, or None."""

    def pipeline(self, work: Workspace) -> tuple[Command, Command] | None:
        """(producer, job): the job stores what the producer writes to its standard input; or None."""

    def states(self, work: Workspace) -> Command | None:
        """Ask the job for the states it went through (profile ``own``), or None."""

    def parse_states(self, done: Completed) -> list[tuple[str, float]]:
        """(state, Unix time) of the newest job, in order; raises ValueError if not understood."""

    def recorded(self, work: Workspace, service: str) -> Command | None:
        """Ask a service for the jobs that it has been told of, as directly as possible; or None.

        ``work.services`` leads past the link here.
        """

    def parse_recorded(self, done: Completed) -> list[tuple[str, str]]:
        """(name of a job, its state), oldest first; raises ValueError if not understood."""

    def parse_log(self, stream: str, line: str) -> LogRecord:
        """Understand one line of output of a job; ``stream`` is ``stdout`` or ``stderr``."""


def pairs(text: str) -> list[tuple[str, str]]:
    """Lines of a name and a state; the state is put in upper case. Raises ValueError for another line."""
    found = []
    for line in filter(None, map(str.strip, text.splitlines())):
        name, _, state = line.rpartition(" ")
        if not name:
            raise ValueError(f"expected a job and its state, not {line[:200]!r}")
        found.append((name.strip(), state.upper()))
    return found


@runtime_checkable
class Contained(Protocol):
    """A target that knows which image has its program; any other gets the image with Python, and what it exposes."""

    image: str
    """For sandboxes made of containers, pinned; empty for the image with Python and this package."""

    def carried(self) -> Sequence[str]:
        """Paths of this machine that its container must see: no programs, those are the image's."""


class BaseTarget:
    """Defaults for adapters: nothing optional is offered, a line is information."""

    profile: Profile
    image = ""

    def carried(self) -> Sequence[str]:
        """The image has everything."""
        return ()

    def profile_for(self, kind: RepositoryType) -> Profile:
        """The same for all kinds."""
        return self.profile

    def available(self) -> None:
        """Nothing is missing."""

    def expose(self) -> Sequence[str]:
        """Nothing else must be visible."""
        return ()

    def parse_version(self, done: Completed) -> str:
        """The first line of the output."""
        return (done.output.splitlines() or ["unknown"])[0].strip()[:200]

    def init(self, work: Workspace) -> Sequence[Command]:
        """The repository needs no making."""
        return ()

    def snapshots(self, work: Workspace) -> Command | None:
        """There is no list."""
        return None

    def parse_snapshots(self, done: Completed) -> list[str]:
        """There is no list."""
        return []

    def restored_root(self, work: Workspace) -> str:
        """The restore directory itself."""
        return work.restore

    def check(self, work: Workspace) -> Command | None:
        """There is no check."""
        return None

    def unlock(self, work: Workspace) -> Command | None:
        """There are no locks."""
        return None

    def prune(self, work: Workspace) -> Command | None:
        """Nothing can be pruned."""
        return None

    def cache_files(self, work: Workspace) -> Sequence[str]:
        """Whatever lies on the cache volume."""
        return (work.cache,)

    def drifted(self, work: Workspace) -> Command | None:
        """There is no other version."""
        return None

    def pipeline(self, work: Workspace) -> tuple[Command, Command] | None:
        """It stores files only."""
        return None

    def states(self, work: Workspace) -> Command | None:
        """The job keeps no states."""
        return None

    def parse_states(self, done: Completed) -> list[tuple[str, float]]:
        """The job keeps no states."""
        return []

    def recorded(self, work: Workspace, service: str) -> Command | None:
        """Nobody knows how to ask."""
        return None

    def parse_recorded(self, done: Completed) -> list[tuple[str, str]]:
        """One line a job: its name, and its state as the last word."""
        return pairs(done.stdout)

    def parse_log(self, stream: str, line: str) -> LogRecord:
        """Level by common words; adapters know better."""
        if WARNS.match(line):
            return LogRecord("warning", line)
        lower = line.lower()
        if any(word in lower for word in ("error", "fatal", "fail", "cannot", "denied", "no space")):
            return LogRecord("error", line)
        return LogRecord("warning" if "warn" in lower or "retry" in lower else "info", line)
