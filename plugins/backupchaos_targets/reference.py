"""The reference engine that comes with the project, honest or with planted misbehaviours."""

from __future__ import annotations

import posixpath
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from importlib.util import find_spec
from typing import Any
from urllib.parse import quote

from backupchaos.commands import Command, Completed
from backupchaos.errors import MissingCapability
from backupchaos.model.expectations import TRANSITIONS
from backupchaos.targets.base import BaseTarget, Location, LogRecord, Profile, Workspace
from backupchaos.targets.dump import LAST_LINE, dump
from backupchaos.targets.interpreter import python_command, python_environment, python_paths
from backupchaos_targets.parsing import (
    integer_of,
    json_document,
    json_object,
    level_of,
    plain_record,
    seconds_of,
    text_of,
)

PACKAGE = "backupchaos_reference"
PREFIX = "BACKUPCHAOS_REFERENCE_"
_ASPECTS = "content type mode owner mtime dir_mtime link_mtime xattrs links hardlinks empty_dirs sparse root"
_FEATURES = (
    "awkward_names unicode_names non_utf8_names control_names backslash_names long_names symlinks absolute_symlinks "
    "hard_links sparse empty_dirs modes setgid xattrs deep_dir odd_mtimes special"
)
_CATALOGUED = """\
local found = {}
for _, id in ipairs(redis.call('LRANGE', 'backup:jobs', 0, -1)) do
  found[#found + 1] = id .. ' ' .. (redis.call('HGET', 'backup:job:' .. id, 'state') or 'none')
end
return found
"""
"""Asks the catalog itself, not the engine, for the jobs and their states."""
_VERSION = (
    "from importlib.metadata import version, PackageNotFoundError\n"
    "try: print('backupchaos-reference', version('backupchaos'))\n"
    "except PackageNotFoundError: print('backupchaos-reference from a checkout')\n"
)


def repository_url(location: Location) -> str:
    """What ``--repo`` takes."""
    if location.kind == "local":
        return location.path
    return f"sftp://{quote(location.user, safe='')}@{location.host}:{location.port}{quote(location.path)}"


CHEAP_KEY = "1024"
"""Every command opens the key, and at the engine's own cost would take most of its time for that."""


def _place(link: str | None) -> str:
    """What a record's link leads to."""
    if not link:
        return ""
    return "catalog" if link.startswith("redis://") else "repository"


class ReferenceTarget(BaseTarget):
    """``python -m backupchaos_reference``.

    ``misbehave`` names planted misbehaviours (the engine's own ``misbehaviours`` command lists
    them); ``extra_env`` is added to every command, for the engine's ``BACKUPCHAOS_REFERENCE_*`` knobs.
    """

    def __init__(
        self, misbehave: Sequence[str] = (), extra_env: Mapping[str, str] | None = None, name: str = ""
    ) -> None:
        self.misbehave = tuple(misbehave)
        self.extra_env = dict(extra_env or {})
        self.name = name or "-".join(("reference", *self.misbehave))
        self.profile = Profile(
            speaks=("local", "sftp"),
            aspects=frozenset(_ASPECTS.split()),
            features=frozenset(_FEATURES.split()),
            exit_codes={0: "success", 3: "partial"},
            retries="log",
            states="own",
            log_fields=("trace_id", "status_code", "timestamp"),
            uses={"catalog": ("redis",)},
        )

    def available(self) -> None:
        """It is part of the distribution, but a packager may have split it off."""
        if find_spec(PACKAGE) is None:
            raise MissingCapability(
                "reference", f"the package {PACKAGE} is not installed", "pip install backupchaos"
            )

    def expose(self) -> Sequence[str]:
        """The interpreter and the engine's package."""
        return python_paths(PACKAGE)

    def _command(self, work: Workspace | None, *arguments: str) -> Command:
        env = dict(self.extra_env)
        secrets: tuple[str, ...] = ()
        if self.misbehave:
            env[f"{PREFIX}MISBEHAVE"] = ",".join(self.misbehave)
        if work is not None:
            location = work.location
            env[f"{PREFIX}PASSWORD"] = work.password
            secrets = (work.password, location.password)
            if location.kind == "sftp":
                if location.password:
                    env[f"{PREFIX}SFTP_PASSWORD"] = location.password
                else:
                    env[f"{PREFIX}SFTP_KEY"] = location.key_file
                env[f"{PREFIX}SFTP_HOST_KEY"] = location.host_key
            if (catalog := work.services.get("catalog")) is not None:
                address = f"{catalog.user}@{catalog.host}:{catalog.port}/{catalog.database}"
                env[f"{PREFIX}CATALOG"] = f"redis://{address}"
                env[f"{PREFIX}CATALOG_PASSWORD"] = catalog.password
                secrets += (catalog.password,)
        return python_command(PACKAGE, arguments, env=env, secrets=secrets)

    def _on_repository(self, work: Workspace, command: str, *arguments: str) -> Command:
        return self._command(work, command, "--repo", repository_url(work.location), *arguments)

    @staticmethod
    def _database(work: Workspace) -> str:
        return posixpath.join(work.state, "reference.db")

    def version(self) -> Command:
        """The version of the distribution that holds the engine."""
        return Command((sys.executable, "-c", _VERSION), python_environment(PACKAGE))

    def init(self, work: Workspace) -> Sequence[Command]:
        """Make the repository; its password is known for one run only, so that its key may be a cheap one."""
        command = self._on_repository(work, "init")
        return (replace(command, env={f"{PREFIX}SCRYPT_N": CHEAP_KEY, **command.env}),)

    def backup(self, work: Workspace) -> Command:
        """One job, recorded in the state database of the run."""
        return self._on_repository(
            work, "backup", "--source", work.source, "--state", self._database(work), "--json"
        )

    def snapshots(self, work: Workspace) -> Command:
        """All snapshots as JSON."""
        return self._on_repository(work, "snapshots", "--json")

    def parse_snapshots(self, done: Completed) -> list[str]:
        """The ids; a damaged snapshot is listed too, since it is one that should restore."""
        document = json_document(done.stdout, "the list of snapshots")
        try:
            return [str(entry["id"]) for entry in document["snapshots"]]
        except (KeyError, TypeError):
            raise ValueError(
                f"the list of snapshots is not understood: {done.stdout.strip()[:200]!r}"
            ) from None

    def restore(self, work: Workspace, snapshot: str) -> Command:
        """Restore into the empty directory."""
        return self._on_repository(work, "restore", snapshot, "--target", work.restore)

    def check(self, work: Workspace) -> Command:
        """Read and verify every chunk."""
        return self._on_repository(work, "check", "--read-data")

    def unlock(self, work: Workspace) -> Command:
        """An honest engine takes no locks; a planted misbehaviour does."""
        return self._on_repository(work, "unlock")

    def prune(self, work: Workspace) -> Command:
        """Keep every snapshot; the engine spares chunks of the last day, since a job may run beside it."""
        return self._on_repository(work, "prune")

    def cache_files(self, work: Workspace) -> Sequence[str]:
        """The engine asks the repository for everything it wants to know."""
        return ()

    def drifted(self, work: Workspace) -> Command:
        """As a version that cuts files into smaller pieces would do it."""
        command = self.backup(work)
        size = f"{PREFIX}CHUNK_SIZE"
        other = "65536" if command.env.get(size) != "65536" else "131072"
        return replace(command, env={**command.env, size: other})

    def pipeline(self, work: Workspace) -> tuple[Command, Command]:
        """Standard input that must have a last line: how else should a job know that its producer died?"""
        arguments = ("--source", "-", "--must-end", LAST_LINE, "--state", self._database(work), "--json")
        return dump(work), self._on_repository(work, "backup", *arguments)

    def states(self, work: Workspace) -> Command:
        """Ask the state database."""
        return self._command(work, "status", "--state", self._database(work), "--json")

    def parse_states(self, done: Completed) -> list[tuple[str, float]]:
        """The transitions of the newest job."""
        document = json_document(done.stdout, "the job's status")
        try:
            jobs: list[dict[str, Any]] = document["jobs"]
            steps = jobs[-1]["transitions"]
            return [(str(step["to"]), datetime.fromisoformat(step["ts"]).timestamp()) for step in steps]
        except (KeyError, TypeError, ValueError, IndexError):
            raise ValueError(f"the job's status is not understood: {done.stdout.strip()[:200]!r}") from None

    def recorded(self, work: Workspace, service: str) -> Command:
        """Ask the catalog with Redis' own client."""
        catalog = work.services[service]
        argv = ("redis-cli", "-h", catalog.host, "-p", str(catalog.port), "EVAL", _CATALOGUED, "0")
        env = {"REDISCLI_AUTH": catalog.password}
        return Command(argv, env, secrets=(catalog.password,))

    def parse_recorded(self, done: Completed) -> list[tuple[str, str]]:
        """The client's exit code is 0 also for an error, whose words are no states."""
        found = super().parse_recorded(done)
        unknown = [state for _, state in found if state not in TRANSITIONS]
        if unknown:
            raise ValueError(f"the catalog's answer is not understood: {done.stdout.strip()[:200]!r}")
        return found

    def parse_log(self, stream: str, line: str) -> LogRecord:
        """JSON lines on standard error; anything else is kept as a plain line."""
        record = json_object(line) if stream == "stderr" else None
        if record is None:
            return plain_record(line)
        event = record.get("event")
        structured = all(text_of(record.get(name)) for name in ("level", "event", "message", "ts"))
        return LogRecord(
            level=level_of(record.get("level")),
            message=text_of(record.get("message")) or line,
            retry=event == "retry",
            delay=seconds_of(record.get("delay_s")) if event == "retry" else None,
            state=text_of(record.get("to")) if event == "state" else None,
            trace_id=text_of(record.get("trace_id")),
            status_code=integer_of(record.get("status_code")),
            structured=structured,
            link=_place(text_of(record.get("link"))),
        )
