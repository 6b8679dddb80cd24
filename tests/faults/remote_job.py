"""A job that puts files on the SFTP server of a bench: the calls on the repository are the server's."""

from __future__ import annotations

from tests.faults.bench import Probe

from backupchaos.commands import Command
from backupchaos.targets.base import Workspace

PUT = """
import asyncio, asyncssh, os, sys
async def main():
    account = dict(username='backup', password='{login}', known_hosts=None, client_keys=None, config=None)
    async with asyncssh.connect('{host}', {port}, **account) as connection:
        async with connection.start_sftp_client() as sftp:
            for n in range(8):
                async with sftp.open('/f%d' % n, 'wb') as file:
                    await file.write(os.urandom(30000))
try: asyncio.run(main())
except asyncssh.Error as error: sys.exit('%s %s' % (type(error).__name__, error))
"""


class Remote(Probe):
    """A job that puts files on the SFTP server."""

    def backup(self, work: Workspace) -> Command:
        command = super().backup(work)
        return Command(
            tuple(word.replace("{login}", work.location.password) for word in command.argv), command.env
        )
