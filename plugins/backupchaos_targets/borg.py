"""BorgBackup 1.2 and 1.4 with a local repository."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence

from backupchaos.commands import Command, Completed
from backupchaos.targets.base import BaseTarget, LogRecord, Profile, Refinement, Workspace
from backupchaos.targets.dump import dump
from backupchaos_targets.parsing import json_document, json_object, level_of, plain_record, text_of
from backupchaos_targets.programs import need_program, program, program_path

_HINT = "apt install borgbackup, or see borgbackup.org"
_ASPECTS = "content type mode owner mtime dir_mtime link_mtime xattrs links hardlinks empty_dirs"
# Not odd_mtimes: borg 1.x keeps no times after 2038-01-17, for the sake of 32-bit systems.
_FEATURES = (
    "awkward_names unicode_names non_utf8_names control_names backslash_names long_names symlinks absolute_symlinks "
    "hard_links sparse empty_dirs modes setgid xattrs deep_dir special"
)
_WARNS = (
    "borg reads each source file once and promises no retries; one that it cannot read is left out with a "
    "warning, and a warning code at the end"
)
_LEFT_OUT = Refinement(
    _WARNS,
    {"outcome": "partial", "retries": 0, "states": None, "log": [{"level": "warning", "matches": "{path}"}]},
)
# 1 is a warning with old codes and a mix of warnings with modern ones; 100..127 are single warnings.
EXIT_CODES = {0: "success", 1: "partial", **dict.fromkeys(range(100, 128), "partial")}


def _cache(work: Workspace) -> str:
    return posixpath.join(work.cache, "borg")


class BorgTarget(BaseTarget):
    """``borg create`` of the source's content, encrypted with repokey-blake2."""

    name = "borg"
    image = "backupchaos/borg:1"
    """Borg's makers publish no image; this one is Debian's package (``docker/build borg``)."""
    profile = Profile(
        speaks=("local",),
        aspects=frozenset(_ASPECTS.split()),
        features=frozenset(_FEATURES.split()),
        exit_codes=EXIT_CODES,
        retries="log",
        refinements=dict.fromkeys(("file_locked", "file_locked_released", "permission_denied"), _LEFT_OUT),
    )

    def available(self) -> None:
        """Raise ``MissingCapability`` without the program."""
        need_program("borg", _HINT)

    def expose(self) -> Sequence[str]:
        """The program."""
        return program_path("borg")

    def _command(self, work: Workspace | None, *arguments: str, cwd: str | None = None) -> Command:
        env: dict[str, str] = {}
        secrets: tuple[str, ...] = ()
        if work is not None:
            env = {
                "BORG_REPO": work.location.path,
                "BORG_PASSPHRASE": work.password,
                "BORG_BASE_DIR": posixpath.join(work.state, "borg"),
                "BORG_CACHE_DIR": _cache(work),
                "TMPDIR": work.temp,
                # Without a network card borg makes up a new host for each process, and then takes the
                # lock of its own killed predecessor for somebody else's.
                "BORG_HOST_ID": "backupchaos@1",
                "BORG_EXIT_CODES": "modern",
                "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes",
                "BORG_CHECK_I_KNOW_WHAT_I_AM_DOING": "YES",
            }
            secrets = (work.password,)
        return Command((program("borg"), *arguments), env, cwd=cwd, secrets=secrets)

    def version(self) -> Command:
        """``borg --version``."""
        return self._command(None, "--version")

    def parse_version(self, done: Completed) -> str:
        """``borg 1.4.1`` -> ``1.4.1``."""
        return super().parse_version(done).removeprefix("borg ")

    def init(self, work: Workspace) -> Sequence[Command]:
        """Make the repository; the key lies in it."""
        return (self._command(work, "init", "--log-json", "--encryption", "repokey-blake2"),)

    def backup(self, work: Workspace) -> Command:
        """One archive, named by its time; run inside the source, so that paths are relative to it."""
        archive = "::job-{now:%Y-%m-%dT%H:%M:%S.%f}"
        return self._command(work, "create", "--log-json", "--show-rc", archive, ".", cwd=work.source)

    def pipeline(self, work: Workspace) -> tuple[Command, Command]:
        """``producer | borg create ... -``, as the manual has it."""
        archive = "::job-{now:%Y-%m-%dT%H:%M:%S.%f}"
        return dump(work), self._command(work, "create", "--log-json", "--show-rc", archive, "-")

    def snapshots(self, work: Workspace) -> Command:
        """All archives as JSON."""
        return self._command(work, "list", "--log-json", "--json")

    def parse_snapshots(self, done: Completed) -> list[str]:
        """The names of the archives, sorted by their time."""
        document = json_document(done.stdout, "the list of archives")
        try:
            archives = sorted(document["archives"], key=lambda archive: str(archive["time"]))
            return [str(archive["name"]) for archive in archives]
        except (KeyError, TypeError):
            raise ValueError(
                f"the list of archives is not understood: {done.stdout.strip()[:200]!r}"
            ) from None

    def restore(self, work: Workspace, snapshot: str) -> Command:
        """borg extracts into the current directory."""
        return self._command(work, "extract", "--log-json", "--show-rc", f"::{snapshot}", cwd=work.restore)

    def check(self, work: Workspace) -> Command:
        """The repository, the archives, and every byte of data."""
        return self._command(work, "check", "--log-json", "--show-rc", "--verify-data")

    def unlock(self, work: Workspace) -> Command:
        """``borg break-lock``."""
        return self._command(work, "break-lock", "--log-json")

    def prune(self, work: Workspace) -> Command:
        """``borg compact``, which frees what deleted archives have left (from 1.2 on)."""
        return self._command(work, "compact", "--log-json", "--show-rc")

    def cache_files(self, work: Workspace) -> Sequence[str]:
        """The index of chunks and the list of files; what protects against replays lies elsewhere."""
        return (_cache(work),)

    def parse_log(self, stream: str, line: str) -> LogRecord:
        """JSON lines of type ``log_message``; progress and prompts are information."""
        record = json_object(line)
        if record is None:
            return plain_record(line)
        message = text_of(record.get("message")) or line
        if record.get("type") != "log_message":
            return LogRecord("info", message, structured=True)
        return LogRecord(level_of(record.get("levelname")), message, structured=True)
