"""One program for every kind of fault: it reads, writes, syncs, renames, forks, dials and tells the time.

It is no backup tool. It goes on after every error, as a probe should, and says what it met. Beside it `IDLE`, which
touches nothing that a fault can hold.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from tests.faults.bench import Probe

from backupchaos.commands import Command
from backupchaos.targets.base import Workspace

WORK = r"""
import os, socket, subprocess, sys, threading, time
SOURCE, REPOSITORY, CACHE, TEMP, HOST, PORT, SECRET = sys.argv[1:8]
def tell(*words): print(*words, flush=True)
def attempt(what, do):
    try: return do()
    except (OSError, RuntimeError, MemoryError) as error: tell(what, type(error).__name__, getattr(error, 'errno', ''))
def read(path):
    with open(path, 'rb', buffering=0) as file:
        size = 0
        while chunk := file.read(4096): size += len(chunk)
    return size
def write(path, data):
    with open(path, 'wb', buffering=0) as file:
        while data: data = data[file.write(data):]
        os.fsync(file.fileno())
    os.rename(path, path + '.done')
def files(root):
    return [os.path.join(top, name) for top, _, names in os.walk(root) for name in names if not os.path.islink(os.path.join(top, name))]
lock = os.path.join(REPOSITORY, 'lock')
held = attempt('lock', lambda: os.close(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY)))
tell('at work', time.time())
keep = []
for number in range(24): keep.append(attempt('descriptor', lambda: open('/dev/null')))
helper = attempt('helper', lambda: subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(30)']))
memory = attempt('memory', lambda: bytearray(b'x' * (64 << 20)))
for path in files(CACHE) + files(REPOSITORY): attempt('stored', lambda: read(path))
attempt('cache', lambda: write(os.path.join(CACHE, 'index'), SECRET.encode() * 1000))
for number, path in enumerate(files(SOURCE)):
    attempt('source', lambda: read(path))
    attempt('temp', lambda: write(os.path.join(TEMP, 'part%d' % number), os.urandom(20000)))
    attempt('repository', lambda: os.makedirs(os.path.join(REPOSITORY, 'd%d' % (number % 4)), exist_ok=True))
    attempt('repository', lambda: write(os.path.join(REPOSITORY, 'd%d' % (number % 4), 'f%d' % number), os.urandom(90000)))
def echo():
    with socket.create_connection((HOST, int(PORT)), 3) as sock:
        sock.settimeout(3)
        data = os.urandom(65536)
        sender = threading.Thread(target=lambda: attempt('send', lambda: sock.sendall(data)))
        sender.start()
        back = b''
        while len(back) < len(data):
            chunk = sock.recv(65536)
            if not chunk: break
            back += chunk
        sender.join()
        if back != data: tell('echo differs')
if PORT != '0':
    end = time.monotonic() + 4
    while time.monotonic() < end: attempt('dial', echo); time.sleep(0.01)
else:
    end = time.monotonic() + 1
    while time.monotonic() < end: sum(range(10000)); time.time()
if helper: helper.kill(); attempt('helper', helper.wait)
attempt('unlock', lambda: os.unlink(lock))
tell('done', time.time())
"""
IDLE = "import time\nprint('idle', flush=True)\nend = time.monotonic() + 1\nwhile time.monotonic() < end: time.sleep(0.05)"


class Universal(Probe):
    """The program as a target, with everything that some fault asks of one."""

    def __init__(self, *, idle: bool = False, env: Mapping[str, str] | None = None) -> None:
        super().__init__((), env)
        self.idle = idle

    def _arguments(self, work: Workspace) -> tuple[str, ...]:
        remote = work.location.kind != "local"
        repository = work.location.path if not remote else work.state
        place = (work.location.host, str(work.location.port)) if remote else ("", "0")
        return (work.source, repository, work.cache, work.temp, *place, work.password)

    def backup(self, work: Workspace) -> Command:
        if self.idle:
            return Command((sys.executable, "-c", IDLE))
        return Command((sys.executable, "-c", WORK, *self._arguments(work)), self.env)

    def init(self, work: Workspace) -> tuple[Command, ...]:
        return ()

    def drifted(self, work: Workspace) -> Command:
        return Command((sys.executable, "-c", WORK + "\ntell('another version')", *self._arguments(work)))

    def prune(self, work: Workspace) -> Command:
        return Command((sys.executable, "-c", "import time; time.sleep(0.2)"))

    def pipeline(self, work: Workspace) -> Any:
        producer = (
            "import os, sys, time\nfor _ in range(500): os.write(1, os.urandom(4096)); time.sleep(0.01)"
        )
        reader = "import sys\nwhile sys.stdin.buffer.read(65536): pass"
        return Command((sys.executable, "-c", producer)), Command((sys.executable, "-c", reader))
