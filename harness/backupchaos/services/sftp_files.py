"""The keys of one SFTP server and its one client, and the names of the files they are kept in."""

from __future__ import annotations

import posixpath
import secrets
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncssh

USER = "backup"
HOST_KEY = "host_key"
PASSWORD = "password"  # noqa: S105 - the name of a file
AUTHORIZED_KEYS = "authorized_keys"
CLIENT_KEY = "client_key"
KNOWN_HOSTS = "known_hosts"


class Credentials:
    """Made anew for each run: a host key, a client key, a password."""

    def __init__(self) -> None:
        self.password = secrets.token_hex(20)

    @staticmethod
    def _generate(comment: str) -> asyncssh.SSHKey:
        import asyncssh

        return asyncssh.generate_private_key("ssh-ed25519", comment=comment)

    @cached_property
    def _host(self) -> asyncssh.SSHKey:
        return self._generate("backupchaos-server")

    @cached_property
    def _client(self) -> asyncssh.SSHKey:
        return self._generate("backupchaos-client")

    @property
    def host_key(self) -> str:
        """The server's public key as an OpenSSH line."""
        return self._host.export_public_key().decode().strip()

    def files(self, state: str) -> list[tuple[str, bytes, int]]:
        """(path, content, mode) of all that server and client read; secrets are for their owner alone."""
        # '*' matches whatever port the link gets; only this one server is ever behind it.
        known = f"* {self.host_key}\n".encode()
        content = {
            HOST_KEY: (self._host.export_private_key(), 0o600),
            PASSWORD: (self.password.encode(), 0o600),
            AUTHORIZED_KEYS: (self._client.export_public_key(), 0o600),
            CLIENT_KEY: (self._client.export_private_key(), 0o600),
            KNOWN_HOSTS: (known, 0o644),
        }
        return [(posixpath.join(state, name), data, mode) for name, (data, mode) in content.items()]
