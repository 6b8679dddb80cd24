"""restic's own server for its REST protocol.

What clients get, by trial (0.14.0): a full disk is 507, a read-only or failing one 500; an upload that is broken off
leaves nothing, and one whose name is taken already is 403. An upload is written under
a name of the server's own, checked against its hash, synced, and renamed. So what it has acknowledged survives its
own SIGKILL, and an older upload of the same name that ends late takes nothing back, unlike with rclone. SIGKILL in
the middle of an upload leaves a file ``*.rest-server-temp*`` beside the others, for ever: no client can see or
remove it, and no tool is to be blamed for it.
"""

from __future__ import annotations

import base64
import hashlib
import posixpath
import re
import secrets
from collections.abc import Sequence

from backupchaos.commands import Command
from backupchaos.services.base import LOOPBACK
from backupchaos.services.programs import find_program
from backupchaos.services.sftp_files import USER
from backupchaos.services.terse import DISK, FULL, status
from backupchaos.targets.base import Location, RepositoryType

HINT = "see github.com/restic/rest-server; docs/servers.md has a line for Go"
_HTPASSWD = "htpasswd"
_REPOSITORY = "/repository"
_ITS_OWN = re.compile(r"\.rest-server-temp\d+$")


class RestServer:
    """``rest-server`` with one user, who may do everything."""

    kind: RepositoryType = "rest"
    name = "rest-server"
    image = "restic/rest-server:0.14.0"
    forgets = ""
    terse = {
        **dict.fromkeys(DISK, status(500) + "|internal server error"),
        **dict.fromkeys(FULL, status(500, 507) + "|insufficient storage"),
    }
    retracts = ""

    def __init__(self) -> None:
        self._password = secrets.token_hex(20)

    def available(self) -> None:
        """Raise ``MissingCapability`` without the program."""
        find_program("rest-server", HINT)

    def files(self, state: str) -> Sequence[tuple[str, bytes, int]]:
        """The password's hash; its SHA-1 form needs no library, and the password has 160 random bits."""
        digest = base64.b64encode(hashlib.sha1(self._password.encode(), usedforsecurity=False).digest())
        line = f"{USER}:{{SHA}}{digest.decode()}\n"
        return ((posixpath.join(state, _HTPASSWD), line.encode(), 0o600),)

    def command(self, directory: str, state: str, port: int) -> Command:
        """Serve every repository below ``directory``."""
        return self._command(find_program("rest-server", HINT), directory, state, f"{LOOPBACK}:{port}")

    def command_in_image(self, directory: str, state: str, port: int, listen: str) -> Command:
        """The program without the image's script, which wants a directory and a password file of its own."""
        return self._command("rest-server", directory, state, f"{listen}:{port}")

    def _command(self, program: str, directory: str, state: str, address: str) -> Command:
        options = ("--path", directory, "--listen", address)
        htpasswd = ("--htpasswd-file", posixpath.join(state, _HTPASSWD))
        return Command((program, *options, *htpasswd), secrets=(self._password,))

    def greeting(self) -> None:
        """Clients speak first; it listens when it can serve."""

    def location(self, port: int) -> Location:
        """A path below the served directory."""
        return Location("rest", _REPOSITORY, host=LOOPBACK, port=port, user=USER, password=self._password)

    def client_name(self, stored: str) -> str | None:
        """Files are named as clients name them, but for half uploads."""
        return None if _ITS_OWN.search(stored) else stored
