"""MinIO, a server of S3 that many run at home.

It stores an object as a folder with ``xl.meta`` in it, and with a part of its own for what is larger than 128 KiB.

What clients get, by trial (the version of 2026-02-12): a full disk is 507 XMinioStorageFull, "minimum free drive
threshold"; a read-only one 403 AccessDenied for an upload, and 500 InternalError for a removal; an I/O error is 503
SlowDownWrite, "unwritable, please reduce your request rate"; damaged data are 503 SlowDownRead, and a cut or lost
``xl.meta`` is an object that was never there. So clients try again for long where nothing is ever going to work.
An upload is written below ``.minio.sys/tmp`` and renamed: one that is broken off, by its client or by SIGKILL, leaves
nothing under its name, and the next start clears the rest away. What was acknowledged survives SIGKILL with times to the
nanosecond, and is not taken back when an older upload of the same name ends.
"""

from __future__ import annotations

import posixpath
import re
import secrets
from collections.abc import Sequence

from backupchaos.commands import Command
from backupchaos.services.base import LOOPBACK
from backupchaos.services.programs import find_program
from backupchaos.services.terse import DISK, FULL, status
from backupchaos.targets.base import Location, RepositoryType

HINT = "see min.io; docs/servers.md has a line for Go"
BUCKET = "repository"
_OWN_FOLDER = ".minio.sys/"
_STORED = re.compile(
    r"/xl\.meta(?:\.bkp)?$|/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}(?:/part\.\d+)?$"
)
_HEALTH = b"GET /minio/health/cluster HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


class Minio:
    """``minio server`` on one drive, with a bucket, and the run's own root user."""

    kind: RepositoryType = "s3"
    name = "minio"
    image = "minio/minio:RELEASE.2025-09-07T16-13-09Z"
    forgets = ""
    terse = {
        **dict.fromkeys(DISK, status(403, 500, 503) + r"|access ?denied|internal ?error|is unwritable"),
        **dict.fromkeys(FULL, status(507) + "|StorageFull|minimum free drive"),
    }
    retracts = ""

    def __init__(self) -> None:
        self._user = f"BACKUPCHAOS{secrets.token_hex(5).upper()}"
        self._password = secrets.token_hex(20)

    def available(self) -> None:
        """Raise ``MissingCapability`` without the program."""
        find_program("minio", HINT)

    def files(self, state: str) -> Sequence[tuple[str, bytes, int]]:
        """It takes everything from its environment."""
        return ()

    def folders(self, directory: str) -> Sequence[str]:
        """A bucket is a folder of the drive, and one that is there at the start is served like any other."""
        return (posixpath.join(directory, BUCKET),)

    def command(self, directory: str, state: str, port: int) -> Command:
        """Serve one drive; without the console, and without asking its makers for newer versions."""
        return self._command(find_program("minio", HINT), directory, state, f"{LOOPBACK}:{port}")

    def command_in_image(self, directory: str, state: str, port: int, listen: str) -> Command:
        """The same."""
        return self._command("minio", directory, state, f"{listen}:{port}")

    def _command(self, program: str, directory: str, state: str, address: str) -> Command:
        argv = (program, "server", directory, "--address", address, "--quiet")
        env = {
            "MINIO_ROOT_USER": self._user,
            "MINIO_ROOT_PASSWORD": self._password,
            "MINIO_BROWSER": "off",
            "MINIO_UPDATE": "off",
            # Its certificates lie below HOME, and a container's may be read-only.
            "HOME": state,
        }
        return Command(argv, env, secrets=(self._password,))

    def greeting(self) -> None:
        """Clients speak first."""

    def question(self) -> tuple[bytes, bytes]:
        """Its own question for load balancers: it listens a tenth of a second before it serves, and says 503."""
        return _HEALTH, b"HTTP/1.1 200"

    def location(self, port: int) -> Location:
        """The bucket."""
        return Location("s3", BUCKET, host=LOOPBACK, port=port, user=self._user, password=self._password)

    def client_name(self, stored: str) -> str | None:
        """The key, below the bucket; an object's folder has its name."""
        return None if stored.startswith(_OWN_FOLDER) else _STORED.sub("", stored)
