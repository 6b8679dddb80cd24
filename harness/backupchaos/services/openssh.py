"""OpenSSH's own server, which stands behind most of the SFTP that there is.

It is started without privileges: with a configuration and a host key of the run, SFTP alone (``internal-sftp``), and
keys alone, because passwords take PAM or the machine's own shadow file. As root, ``sshd`` changes to other users and
needs ``/run/sshd``, of which the sandbox has neither; so it is made an ordinary user first (``becoming``), and then
it does not even look. In its image it is root, and ``/run/sshd`` is there.

What clients get, by trial (9.2p1): whatever is wrong with the disk (full, read-only, failing) is ``SSH_FX_FAILURE``,
"Failure"; the space that is left is told to those who ask (``statvfs@openssh.com``). Files are written under the name
that the client gave: an upload that is broken off, by its client or by SIGKILL, leaves what had arrived. What was
acknowledged survives SIGKILL, and nothing is taken back. The process of a session ends with its connection, at once;
TERM to all of them cuts the sessions too, unlike a restart by the machine's own service manager.
"""

from __future__ import annotations

import os
import posixpath
import pwd
import subprocess
from collections.abc import Sequence
from functools import cache

from backupchaos.commands import Command
from backupchaos.errors import MissingCapability
from backupchaos.services.base import LOOPBACK
from backupchaos.services.programs import find_program
from backupchaos.services.sftp_files import AUTHORIZED_KEYS, CLIENT_KEY, HOST_KEY, PASSWORD, Credentials
from backupchaos.services.terse import DISK
from backupchaos.targets.base import Location, RepositoryType
from backupchaos.targets.interpreter import python_command

HINT = "apt install openssh-server"
OTHER = "use the server asyncssh, which needs no account"
IMAGE_PROGRAM = "/usr/sbin/sshd"
REPOSITORY = "repository"
_CONFIG = "sshd_config"
_START = (
    'program=$1; shift; "$program" -t "$@" -o PerSourcePenalties=no 2>/dev/null'
    ' && set -- "$@" -o PerSourcePenalties=no; exec "$program" -D -e "$@"'
)
"""Since 9.8 it shuts out for a while who gives it trouble. Behind a link all clients have one address, and one that a
fault has troubled would shut out the harness; older versions do not know the option. The program is named by its full
path, since it executes itself anew for each connection."""
_SETTINGS = """\
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
UsePAM no
StrictModes no
PidFile none
UseDNS no
PrintMotd no
AllowTcpForwarding no
AllowAgentForwarding no
X11Forwarding no
Subsystem sftp internal-sftp
ForceCommand internal-sftp
MaxStartups 200
MaxSessions 200
"""
"""Else as it comes: no keep-alive of its own beyond TCP's, two minutes to log in."""


@cache
def account() -> pwd.struct_passwd:
    """Whom clients log in as: this user, or for root some account of the system that has a home and a shell.

    The home must be there, or each session begins with a complaint about it on the client's side. Raises
    ``MissingCapability`` where there is nobody.
    """
    mine = os.geteuid()
    fits = [entry for entry in pwd.getpwall() if (entry.pw_uid == mine if mine else entry.pw_uid)]
    fits = [entry for entry in fits if os.path.isdir(entry.pw_dir)]
    fits = [entry for entry in fits if os.access(entry.pw_shell or "/bin/sh", os.X_OK)]
    if not fits:
        raise MissingCapability("openssh", "no account here has a home and a shell, to log in as", OTHER)
    return min(fits, key=lambda entry: entry.pw_uid)


@cache
def _becoming(user: int, group: int) -> str:
    """Why root cannot become this user here; empty if it can."""
    trial = _as_user(user, group, ("/bin/sh", "-c", ":"))
    done = subprocess.run(
        trial.argv, env=dict(trial.env), capture_output=True, text=True, errors="replace", check=False
    )
    return "" if done.returncode == 0 else done.stderr.strip() or f"exit {done.returncode}"


def _as_user(user: int, group: int, argv: Sequence[str]) -> Command:
    return python_command("backupchaos.services.becoming", (str(user), str(group), *argv))


_FAILURE = (
    r"SSH_FX_FAILURE|\bsftp\b.{0,60}\bfailure\b"
    r"|(OSError|IOError|remote (open|write|fsync|mkdir|rename)\b.{0,200}|couldn.t .{0,200}): failure"
)
"""As Go's, Python's and OpenSSH's own clients write it. The word alone says nothing."""


class OpensshService:
    """``sshd`` with one account and one key, and no shell behind it.

    Paths are those of the machine: without privileges it cannot lock anybody into a directory. It holds a process
    for each session.
    """

    kind: RepositoryType = "sftp"
    name = "openssh"
    image = "backupchaos/sshd:1"
    """Our own, from ``docker/sshd``: Debian's package and nothing else. OpenSSH publishes no image, and those of
    others (such as linuxserver's) bring a supervisor, accounts and a configuration of their own."""
    forgets = ""
    terse = dict.fromkeys(DISK, _FAILURE)

    def __init__(self) -> None:
        self._credentials = Credentials()
        self._key_file = self._path = self._user = ""

    def available(self) -> None:
        """Raise ``MissingCapability`` without the program, or where it cannot be had without privileges."""
        find_program("sshd", HINT, "openssh")
        who = account()
        if os.geteuid() == 0 and (problem := _becoming(who.pw_uid, who.pw_gid)):
            raise MissingCapability("openssh", problem, OTHER)

    def files(self, state: str) -> Sequence[tuple[str, bytes, int]]:
        """Configuration, host key and client key of this run."""
        self._key_file = posixpath.join(state, CLIENT_KEY)
        keys = [entry for entry in self._credentials.files(state) if posixpath.basename(entry[0]) != PASSWORD]
        return [*keys, (posixpath.join(state, _CONFIG), _SETTINGS.encode(), 0o644)]

    def command(self, directory: str, state: str, port: int) -> Command:
        """Serve as an ordinary user."""
        who = account()
        self._user = who.pw_name
        argv = self._argv(find_program("sshd", HINT, "openssh"), directory, state, f"{LOOPBACK}:{port}")
        return _as_user(who.pw_uid, who.pw_gid, argv)

    def command_in_image(self, directory: str, state: str, port: int, listen: str) -> Command:
        """Serve as root, with all that sshd does about privileges."""
        self._user = "root"
        return Command(tuple(self._argv(IMAGE_PROGRAM, directory, state, f"{listen}:{port}")))

    def _argv(self, program: str, directory: str, state: str, address: str) -> list[str]:
        """Every path and address is in the arguments, the rest in the configuration."""
        self._path = posixpath.join(directory, REPOSITORY)
        settings = {
            "ListenAddress": address,
            "HostKey": posixpath.join(state, HOST_KEY),
            "AuthorizedKeysFile": posixpath.join(state, AUTHORIZED_KEYS),
            "AllowUsers": self._user,
        }
        argv = ["/bin/sh", "-c", _START, "sh", program, "-f", posixpath.join(state, _CONFIG)]
        for name, value in settings.items():
            argv += ["-o", f"{name}={value}"]
        return argv

    def greeting(self) -> bytes:
        """SSH servers speak first."""
        return b"SSH-"

    def location(self, port: int) -> Location:
        """The account is known by its key alone: there is no password."""
        return Location(
            "sftp",
            self._path,
            host=LOOPBACK,
            port=port,
            user=self._user,
            host_key=self._credentials.host_key,
            key_file=self._key_file,
        )
