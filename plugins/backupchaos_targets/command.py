"""Any backup tool as command lines: from a YAML file, or a table in pyproject.toml."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from backupchaos.commands import Command, Completed
from backupchaos.errors import MissingCapability
from backupchaos.model.patterns import matches
from backupchaos.targets.base import TIER_WORDS, BaseTarget, LogRecord, Profile, Refinement, Workspace
from backupchaos.targets.dump import dump
from backupchaos_targets.command_loader import load_table, load_yaml
from backupchaos_targets.command_model import PLACEHOLDERS, Line, Refined, TargetFile, fill, placeholders
from backupchaos_targets.parsing import integer_of, json_object, level_of, plain_level, text_of

_SHELL = "/bin/sh"


class CommandTarget(BaseTarget):
    """A target that only knows its command lines; ``here`` is the directory of the file that has them."""

    def __init__(self, file: TargetFile, here: Path) -> None:
        self.name = file.target
        self._file = file
        self._here = str(here.resolve())
        self.profile = _profile(file)
        self.image = file.image

    @classmethod
    def from_yaml(cls, path: Path) -> CommandTarget:
        """The target in a YAML file; raises ``UsageProblem`` with every mistake, located."""
        return cls(load_yaml(path), path.parent)

    @classmethod
    def from_table(cls, name: str, table: Mapping[str, Any], file: Path) -> CommandTarget:
        """The target in a table of ``file``, a pyproject.toml; raises ``UsageProblem``."""
        return cls(load_table(name, table, file), file.parent)

    # --- what it needs -------------------------------------------------------------------------------------

    def _lines(self) -> list[Line]:
        file = self._file
        lines = [file.version, file.init, file.backup, file.snapshots, file.restore, file.check]
        lines += [file.unlock, file.prune, file.other_version, file.stdin]
        return [line for line in lines if line is not None]

    def _program(self, word: str) -> str:
        """Programs with a slash are relative to the file; others are found on PATH inside the sandbox."""
        return os.path.normpath(os.path.join(self._here, word)) if "/" in word and "{" not in word else word

    def available(self) -> None:
        """Raise ``MissingCapability`` if a program of the command lines is not there."""
        for line in self._lines():
            word = self._program(line.run[0]) if line.run else _SHELL
            if "{" not in word and shutil.which(word) is None:
                missing = f"{word} is not there, or may not be executed"
                raise MissingCapability(self.name, missing, "install it, or correct the target file")

    def expose(self) -> Sequence[str]:
        """What the file asks for, its own directory where a command refers to it, and the programs."""
        paths = list(self.carried())
        for line in [*self._lines(), *self._file.recorded.values()]:
            found = shutil.which(self._program(line.run[0])) if line.run else None
            paths += [found, os.path.realpath(found)] if found else []
        return sorted(set(paths))

    def carried(self) -> Sequence[str]:
        """The same without the programs, except those that are named by a path of this machine."""
        paths = [os.path.join(self._here, fill(path, {"here": self._here})) for path in self._file.expose]
        lines = [*self._lines(), *self._file.recorded.values()]
        texts = [text for line in lines for text in line.texts()] + list(self._file.env.values())
        if any("here" in placeholders(text) for text in texts):
            paths.append(self._here)
        relative = [line.run[0] for line in lines if line.run and "/" in line.run[0].lstrip("/")]
        paths += [self._program(word) for word in relative if not word.startswith("/") and "{" not in word]
        return sorted(set(paths))

    # --- commands ------------------------------------------------------------------------------------------

    def _values(self, work: Workspace | None, snapshot: str = "") -> dict[str, str]:
        services = {f"{name}.{word}": "" for name in self._file.uses for word in TIER_WORDS}
        if work is None:
            return dict.fromkeys(PLACEHOLDERS, "") | services | {"here": self._here}
        location = work.location
        for name, tier in work.services.items():
            services |= {f"{name}.{word}": value for word, value in tier.values().items()}
        return services | {
            "source": work.source,
            "repository": location.path,
            "restore": work.restore,
            "snapshot": snapshot,
            "cache": work.cache,
            "temp": work.temp,
            "state": work.state,
            "password": work.password,
            "host": location.host,
            "port": str(location.port),
            "user": location.user,
            "login_password": location.password,
            "key_file": location.key_file,
            "here": self._here,
        }

    def _command(self, line: Line, work: Workspace | None, snapshot: str = "") -> Command:
        values = self._values(work, snapshot)
        if line.run is not None:
            argv = (self._program(fill(line.run[0], values)), *(fill(word, values) for word in line.run[1:]))
        else:
            # Quoted, because a path with a space or worse must stay one word of the shell's.
            quoted = {name: shlex.quote(value) for name, value in values.items()}
            argv = (_SHELL, "-c", fill(line.shell or "", quoted))
        env = {name: fill(text, values) for name, text in self._file.env.items()}
        secrets: tuple[str, ...] = ()
        if work is not None:
            tiers = (tier.password for tier in work.services.values())
            secrets = (work.password, work.location.password, *tiers)
        cwd = None if line.cwd is None else os.path.join(self._here, fill(line.cwd, values))
        return Command(argv, env, cwd=cwd, secrets=tuple(filter(None, secrets)))

    def _optional(self, line: Line | None, work: Workspace) -> Command | None:
        return None if line is None else self._command(line, work)

    def version(self) -> Command:
        """The given command, else the target's name."""
        line = self._file.version
        return Command(("echo", self.name)) if line is None else self._command(line, None)

    def init(self, work: Workspace) -> Sequence[Command]:
        """The given command, if there is one."""
        line = self._optional(self._file.init, work)
        return () if line is None else (line,)

    def backup(self, work: Workspace) -> Command:
        """The given command."""
        return self._command(self._file.backup, work)

    def snapshots(self, work: Workspace) -> Command | None:
        """The given command; a target without one is a mirror."""
        return self._optional(self._file.snapshots, work)

    def parse_snapshots(self, done: Completed) -> list[str]:
        """Oldest first: one name a line, or what the file's pattern finds, each name once."""
        if self._file.snapshot is not None:
            return list(dict.fromkeys(re.findall(self._file.snapshot, done.stdout)))
        return [line.strip() for line in done.stdout.splitlines() if line.strip()]

    def restore(self, work: Workspace, snapshot: str) -> Command:
        """The given command."""
        return self._command(self._file.restore, work, snapshot)

    def restored_root(self, work: Workspace) -> str:
        """Where the file says that the source's root comes back."""
        return os.path.normpath(fill(self._file.restored_root, self._values(work)))

    def check(self, work: Workspace) -> Command | None:
        """The given command, if there is one."""
        return self._optional(self._file.check, work)

    def unlock(self, work: Workspace) -> Command | None:
        """The given command, if there is one."""
        return self._optional(self._file.unlock, work)

    def prune(self, work: Workspace) -> Command | None:
        """The given command, if there is one."""
        return self._optional(self._file.prune, work)

    def pipeline(self, work: Workspace) -> tuple[Command, Command] | None:
        """A dump of the source, and the given command that stores its standard input."""
        job = self._optional(self._file.stdin, work)
        return None if job is None else (dump(work), job)

    def drifted(self, work: Workspace) -> Command | None:
        """The given command, if there is one."""
        return self._optional(self._file.other_version, work)

    def recorded(self, work: Workspace, service: str) -> Command | None:
        """The given command, if there is one; it prints one line a job, its name and its state, oldest first."""
        return self._optional(self._file.recorded.get(service), work)

    def cache_files(self, work: Workspace) -> Sequence[str]:
        """Where the file says that the tool keeps its cache."""
        return [os.path.normpath(fill(path, self._values(work))) for path in self._file.cache]

    # --- log -----------------------------------------------------------------------------------------------

    def parse_log(self, stream: str, line: str) -> LogRecord:
        """By the file's grammar; a line that it does not know is judged by common words."""
        log, keys = self._file.log, self._file.log.json_keys
        record = json_object(line) if keys is not None else None
        if record is not None and keys is not None:
            level, message = level_of(record.get(keys.level)), text_of(record.get(keys.message)) or line
        else:
            level, message = plain_level(line), line
        if log.error and matches(log.error, line):
            level = "error"
        elif log.warning and matches(log.warning, line):
            level = "warning"
        link = next((name for name, pattern in log.links.items() if matches(pattern, line)), "")
        retry = log.retry is not None and matches(log.retry, line)
        if retry and level == "info":
            level = "warning"
        if record is None or keys is None:
            return LogRecord(level, message, retry=retry, link=link)
        return LogRecord(
            level,
            message,
            retry=retry,
            trace_id=text_of(record.get(keys.trace_id)) if keys.trace_id else None,
            status_code=integer_of(record.get(keys.status_code)) if keys.status_code else None,
            structured=not keys.timestamp or record.get(keys.timestamp) is not None,
            link=link,
        )


def _profile(file: TargetFile) -> Profile:
    promises, keys = file.promises, file.log.json_keys
    granularity = promises.mtime_granularity
    fields = ("trace_id", "status_code", "timestamp")
    return Profile(
        speaks=file.repository,
        aspects=frozenset(promises.aspects),
        features=frozenset(promises.features),
        exit_codes=dict(file.exit_codes),
        history=file.snapshots is not None,
        retries="log" if file.log.retry else "link",
        knows_retries=file.log.retry is not None,
        log_fields=tuple(name for name in fields if keys is not None and getattr(keys, name)),
        mtime_granularity_ns=1 if granularity is None else max(1, round(granularity * 1e9)),
        refinements={scenario: _refinement(refined) for scenario, refined in file.expect.items()},
        uses=dict(file.uses),
        needs=frozenset(file.needs),
    )


def _refinement(refined: Refined) -> Refinement:
    given = refined.model_fields_set - {"reason", "waive"}
    return Refinement(
        refined.reason,
        {name: getattr(refined, name) for name in sorted(given)},
        dict[str, str](refined.waive.items()),
    )
