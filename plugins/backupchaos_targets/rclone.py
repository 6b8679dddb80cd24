"""rclone as a mirror: ``rclone sync`` to one place, without history."""

from __future__ import annotations

import base64
import hashlib
import os
import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from backupchaos.commands import Command, Completed
from backupchaos.services.rclone_serve import RCLONE_HINT
from backupchaos.targets.base import (
    BaseTarget,
    Location,
    LogRecord,
    Profile,
    Refinement,
    RepositoryType,
    Workspace,
)
from backupchaos_targets.parsing import json_object, level_of, plain_record, text_of
from backupchaos_targets.programs import need_program, program, program_path

_REMOTE = "RCLONE_CONFIG_REPO_"
_PUBLISHED_KEY = bytes.fromhex("9c935b48730a554d6bfd7c63c886a92bd390198eb8128afbf4de162b8b95f638")
"""From rclone's source, fs/config/obscure: the format hides from glances, and is no encryption."""
# DEBUG, since that is where low-level retries are told; no statistics, since a line every minute from
# a tool that hangs would look like a sign of life.
_OPTIONS = ("--create-empty-src-dirs", "--links", "--use-json-log", "--log-level", "DEBUG", "--stats", "0")
_ATTEMPT = re.compile(r"(?:low level retry|^Attempt) (\d+)/(\d+)")

# Not unicode_names: rclone documents that it takes names that differ only in Unicode normalisation for
# one file. Not non_utf8_names and long_names: what becomes of them depends on the backend's encoding.
_FEATURES = (
    "awkward_names backslash_names deep_dir symlinks hard_links sparse empty_dirs modes xattrs odd_mtimes"
)
_SECOND = 1_000_000_000
_ROUNDS = Refinement(
    "rclone runs a failed sync three times in all (--retries), whatever the reason, and low-level operations up "
    "to ten times",
    {"retries": "1..", "states": None},
)
_LINK = Refinement(
    "rclone tries low-level operations up to ten times in each of three rounds; the rounds follow each other at "
    "once (--retries-sleep is 0)",
    {"retries": "1..", "backoff": None},
)
_REFINEMENTS = {
    **dict.fromkeys(("disk_full", "real_usr_share_doc", "permission_denied", "file_locked"), _ROUNDS),
    **dict.fromkeys(("network_loss", "network_loss_persistent", "real_stdlib"), _LINK),
}
# What all four backends carry, by trial against our own services. Other metadata needs --metadata, which
# is no default; times of directories are set on the first sync only, and lost when a later one changes
# what is in the directory.
_COMMON = Profile(
    speaks=("sftp", "s3", "webdav", "local"),
    aspects=frozenset({"content", "type", "links", "mtime"}),
    features=frozenset(_FEATURES.split()),
    history=False,
    retries="log",
    mtime_granularity_ns=_SECOND,
    refinements=_REFINEMENTS,
)
_MORE: dict[RepositoryType, Profile] = {
    "local": replace(
        _COMMON,
        aspects=_COMMON.aspects | {"empty_dirs"},
        features=_COMMON.features | {"control_names"},
        mtime_granularity_ns=1,
    ),
    "sftp": replace(
        _COMMON, aspects=_COMMON.aspects | {"empty_dirs"}, features=_COMMON.features | {"control_names"}
    ),
    "webdav": replace(
        _COMMON, aspects=_COMMON.aspects | {"empty_dirs"}, features=_COMMON.features | {"control_names"}
    ),
    # The S3 library repeats requests without a word in the log. Times are exact to the nanosecond as long as the
    # server has them in its memory; after a failed upload, or a restart, it knows milliseconds only.
    "s3": replace(_COMMON, mtime_granularity_ns=1_000_000, retries="link"),
}


def obscure(secret: str) -> str:
    """The form in which rclone takes passwords by configuration: ``rclone obscure``, made repeatable."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    start = hashlib.blake2b(secret.encode(), digest_size=16).digest()
    stream = Cipher(algorithms.AES(_PUBLISHED_KEY), modes.CTR(start)).encryptor()
    return base64.urlsafe_b64encode(start + stream.update(secret.encode())).decode().rstrip("=")


def remote_environment(location: Location) -> dict[str, str]:
    """The remote ``repo:`` as environment variables."""
    if location.kind == "local":
        settings: Mapping[str, str] = {"TYPE": "local"}
    elif location.kind == "sftp":
        settings = {
            "TYPE": "sftp",
            "HOST": location.host,
            "PORT": str(location.port),
            "USER": location.user,
            **(
                {"PASS": obscure(location.password)} if location.password else {"KEY_FILE": location.key_file}
            ),
            "SHELL_TYPE": "none",  # what it finds out by itself, and would want to write into its configuration
        }
    elif location.kind == "s3":
        settings = {
            "TYPE": "s3",
            "PROVIDER": "Rclone",
            "ENDPOINT": f"http://{location.host}:{location.port}",
            "ACCESS_KEY_ID": location.user,
            "SECRET_ACCESS_KEY": location.password,
        }
    else:
        settings = {
            "TYPE": "webdav",
            "VENDOR": "rclone",
            "URL": f"http://{location.host}:{location.port}",
            "USER": location.user,
            "PASS": obscure(location.password),
        }
    return {_REMOTE + key: value for key, value in settings.items()}


class RcloneTarget(BaseTarget):
    """``rclone sync SOURCE repo:.../current`` with the tool's own retries and time-outs."""

    name = "rclone"
    image = "rclone/rclone:1.75.2"
    profile = _COMMON

    def profile_for(self, kind: RepositoryType) -> Profile:
        """What this backend carries."""
        return _MORE.get(kind, _COMMON)

    def available(self) -> None:
        """Raise ``MissingCapability`` without the program."""
        need_program("rclone", RCLONE_HINT)

    def expose(self) -> Sequence[str]:
        """The program."""
        return program_path("rclone")

    def _command(self, work: Workspace | None, *arguments: str) -> Command:
        env = {"RCLONE_CONFIG": os.devnull}
        secrets: tuple[str, ...] = ()
        if work is not None:
            env |= {"RCLONE_CACHE_DIR": work.cache, "RCLONE_TEMP_DIR": work.temp, "TMPDIR": work.temp}
            env |= remote_environment(work.location)
            password = work.location.password
            secrets = tuple({password, env.get(f"{_REMOTE}PASS", password)} - {""})
        return Command((program("rclone"), *arguments), env, secrets=secrets)

    @staticmethod
    def _mirror(work: Workspace) -> str:
        return f"repo:{posixpath.join(work.location.path, 'current')}"

    def version(self) -> Command:
        """``rclone version``."""
        return self._command(None, "version")

    def parse_version(self, done: Completed) -> str:
        """``rclone v1.75.2`` -> ``1.75.2``."""
        return super().parse_version(done).removeprefix("rclone ").removeprefix("v")

    def backup(self, work: Workspace) -> Command:
        """Make the mirror equal to the source."""
        return self._command(work, "sync", work.source, self._mirror(work), *_OPTIONS)

    def restore(self, work: Workspace, snapshot: str) -> Command:
        """The mirror has one state only, whatever ``snapshot`` says."""
        return self._command(work, "sync", self._mirror(work), work.restore, *_OPTIONS)

    def cache_files(self, work: Workspace) -> Sequence[str]:
        """A sync compares source and mirror, and remembers nothing."""
        return ()

    def parse_log(self, stream: str, line: str) -> LogRecord:
        """JSON lines: ``level``, ``msg``, ``object``."""
        record = json_object(line)
        if record is None or not isinstance(record.get("msg"), str):
            return plain_record(line)
        message = record["msg"].strip()
        level = level_of(record.get("level"))
        if record.get("level") == "notice":
            # The last words of a failed command are a mere notice in newer versions.
            level = "error" if message.startswith("Failed to ") else "warning"
        attempt = _ATTEMPT.search(message)
        retry = attempt is not None and "succeeded" not in message and int(attempt[1]) < int(attempt[2])
        if retry and level == "info":
            level = "warning"
        name = text_of(record.get("object"))
        return LogRecord(level, f"{name}: {message}" if name else message, retry=retry, structured=True)
