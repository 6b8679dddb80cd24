"""restic, from 0.14 on: local, SFTP (with ssh), S3 and its own REST protocol."""

from __future__ import annotations

import os
import posixpath
import re
import shlex
from collections.abc import Sequence
from urllib.parse import quote

from backupchaos.commands import Command, Completed
from backupchaos.targets.base import (
    BaseTarget,
    Location,
    LogRecord,
    Profile,
    Refinement,
    RepositoryType,
    Workspace,
)
from backupchaos.targets.dump import dump
from backupchaos_targets.parsing import json_document, json_object, plain_record, seconds_of, text_of
from backupchaos_targets.programs import find_program, need_program, program, program_path

_HINT = "apt install restic, or see restic.net"
_ASPECTS = "content type mode owner mtime dir_mtime link_mtime xattrs links hardlinks empty_dirs"
# Not symlinks: until 0.17 a target that is not UTF-8 comes back changed; absolute_symlinks has ordinary ones.
_FEATURES = (
    "awkward_names unicode_names non_utf8_names control_names backslash_names long_names absolute_symlinks "
    "hard_links sparse empty_dirs modes setgid xattrs deep_dir odd_mtimes special"
)
_LEFT_OUT = Refinement(
    "restic retries its repository, never its source: a file that it cannot read is left out of the snapshot, "
    "with an error in the log and exit code 3",
    {"outcome": "partial", "retries": 0, "states": None},
)
_RETRYING = re.compile(r"returned error, retrying after ([0-9.a-zµ]+)")
_GO_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def go_duration(text: str) -> float | None:
    """Seconds in ``552.330144ms`` or ``1m3.5s``; None if it is no duration."""
    parts = _GO_DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def ssh_command(location: Location) -> str:
    """How ssh reaches the server with the key of the run, and with no configuration of the user's."""
    known_hosts = posixpath.join(posixpath.dirname(location.key_file), "known_hosts")
    options = {
        "IdentityFile": location.key_file,
        "IdentitiesOnly": "yes",
        "UserKnownHostsFile": known_hosts,
        "StrictHostKeyChecking": "yes",
        "BatchMode": "yes",
    }
    argv = [program("ssh"), "-F", os.devnull, "-p", str(location.port)]
    for name, value in options.items():
        argv += ["-o", f"{name}={value}"]
    return shlex.join([*argv, f"{location.user}@{location.host}", "-s", "sftp"])


def repository_environment(location: Location) -> dict[str, str]:
    """The repository and its secrets; they never stand in the arguments, which everybody can read."""
    if location.kind == "local":
        return {"RESTIC_REPOSITORY": location.path}
    address = f"{location.host}:{location.port}"
    if location.kind == "sftp":
        return {"RESTIC_REPOSITORY": f"sftp:{location.user}@{location.host}:{location.path}"}
    if location.kind == "s3":
        return {
            "RESTIC_REPOSITORY": f"s3:http://{address}/{location.path.lstrip('/')}",
            "AWS_ACCESS_KEY_ID": location.user,
            "AWS_SECRET_ACCESS_KEY": location.password,
            "AWS_DEFAULT_REGION": "us-east-1",
        }
    login = f"{quote(location.user, safe='')}:{quote(location.password, safe='')}@" if location.user else ""
    return {"RESTIC_REPOSITORY": f"rest:http://{login}{address}{location.path.rstrip('/')}/"}


class ResticTarget(BaseTarget):
    """``restic backup`` of the source's absolute path."""

    name = "restic"
    image = "restic/restic:0.18.1"

    def __init__(self) -> None:
        # Local first: what it says of a full disk is its own word, and not an HTTP status of the server.
        kinds: list[RepositoryType] = ["local", "rest", "s3"]
        if find_program("ssh"):
            kinds.append("sftp")
        self.profile = Profile(
            speaks=tuple(kinds),
            aspects=frozenset(_ASPECTS.split()),
            features=frozenset(_FEATURES.split()),
            # 3: some source data could not be read, and a snapshot was made. All else is a failure; the
            # documentation says so for codes that one does not know.
            exit_codes={0: "success", 3: "partial"},
            retries="log",
            refinements=dict.fromkeys(
                ("file_locked", "file_locked_released", "permission_denied"), _LEFT_OUT
            ),
        )

    def available(self) -> None:
        """Raise ``MissingCapability`` without the program."""
        need_program("restic", _HINT)

    def expose(self) -> Sequence[str]:
        """The program, and ssh."""
        return (*program_path("restic"), *program_path("ssh"))

    def _command(self, work: Workspace | None, *arguments: str) -> Command:
        argv = [program("restic")]
        env: dict[str, str] = {}
        secrets: tuple[str, ...] = ()
        if work is not None:
            location = work.location
            env = {
                **repository_environment(location),
                "RESTIC_PASSWORD": work.password,
                "RESTIC_CACHE_DIR": work.cache,
                "TMPDIR": work.temp,
                # With --json it reports its progress 60 times a second, for ever: a tool that hangs
                # would never fall silent.
                "RESTIC_PROGRESS_FPS": "0.01",
            }
            secrets = tuple(secret for secret in (work.password, location.password) if secret)
            if location.kind == "sftp":
                argv += ["-o", f"sftp.command={ssh_command(location)}"]
        return Command((*argv, *arguments), env, secrets=secrets)

    def version(self) -> Command:
        """``restic version``."""
        return self._command(None, "version")

    def parse_version(self, done: Completed) -> str:
        """``restic 0.18.1 compiled with ...`` -> ``0.18.1``."""
        words = super().parse_version(done).split()
        return words[1] if len(words) > 1 and words[0] == "restic" else " ".join(words)

    def init(self, work: Workspace) -> Sequence[Command]:
        """Make the repository."""
        return (self._command(work, "init"),)

    def backup(self, work: Workspace) -> Command:
        """The host is fixed: the sandbox's changes, and restic looks for a parent snapshot by it."""
        return self._command(work, "backup", "--json", "--host", "backupchaos", work.source)

    def pipeline(self, work: Workspace) -> tuple[Command, Command]:
        """``producer | restic backup --stdin``, as the manual has it."""
        arguments = ("--json", "--host", "backupchaos", "--stdin", "--stdin-filename", "dump")
        return dump(work), self._command(work, "backup", *arguments)

    def snapshots(self, work: Workspace) -> Command:
        """All snapshots as JSON."""
        return self._command(work, "snapshots", "--json")

    def parse_snapshots(self, done: Completed) -> list[str]:
        """Full ids, sorted by time; ``null`` means none."""
        document = json_document(done.stdout, "the list of snapshots") or []
        try:
            return [str(found["id"]) for found in sorted(document, key=lambda found: str(found["time"]))]
        except (KeyError, TypeError):
            raise ValueError(
                f"the list of snapshots is not understood: {done.stdout.strip()[:200]!r}"
            ) from None

    def restore(self, work: Workspace, snapshot: str) -> Command:
        """Restore; the source's absolute path appears below the target directory."""
        return self._command(work, "restore", snapshot, "--target", work.restore)

    def restored_root(self, work: Workspace) -> str:
        """The source's path, below the restore directory."""
        return posixpath.join(work.restore, work.source.lstrip("/"))

    def check(self, work: Workspace) -> Command:
        """Structure and every byte of data."""
        return self._command(work, "check", "--read-data")

    def unlock(self, work: Workspace) -> Command:
        """Remove all locks: whoever asks for this knows that no job runs.

        Without ``--remove-all`` those of dead processes of this host and those older than 30 minutes go, and
        the lock of a job that died on another machine stays in the way.
        """
        return self._command(work, "unlock", "--remove-all")

    def prune(self, work: Workspace) -> Command:
        """Remove packs that no snapshot needs."""
        return self._command(work, "prune")

    def cache_files(self, work: Workspace) -> Sequence[str]:
        """Copies of indexes, snapshots and trees."""
        return (work.cache,)

    def parse_log(self, stream: str, line: str) -> LogRecord:
        """JSON messages, and plain text in between: retries are always plain text."""
        record = json_object(line)
        if record is not None and text_of(record.get("message_type")):
            return self._message(record["message_type"], record, line)
        announced = _RETRYING.search(line)
        if announced:
            return LogRecord("warning", line, retry=True, delay=seconds_of(go_duration(announced[1])))
        return plain_record(line)

    @staticmethod
    def _message(kind: str, record: dict[str, object], line: str) -> LogRecord:
        if kind == "exit_error":
            return LogRecord("error", text_of(record.get("message")) or line, structured=True)
        if kind != "error":
            return LogRecord("info", line, structured=True)
        error = record.get("error")
        # 0.14 encodes the Go value, newer ones {"message": ...}; the line itself is the last resort.
        text = text_of(error.get("message")) if isinstance(error, dict) else text_of(error)
        item = text_of(record.get("item"))
        return LogRecord("error", f"{item}: {text}" if item and text else text or line, structured=True)
