"""One program for every kind of fault: it reads, writes, syncs, renames, forks, dials and tells the time.

It is no backup tool. It goes on after every error, as a probe should, and says what it met. What it stores, it can
check. Beside it `IDLE`, which touches nothing that a fault can hold: no file, no server, not even the clock.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from tests.faults.bench import Probe

from backupchaos.commands import Command
from backupchaos.targets.base import Workspace

WORK = r"""
import hashlib, os, socket, subprocess, sys, threading, time
SOURCE, REPOSITORY, CACHE, TEMP, HOST, PORT, SECRET, HTTP, SECONDS = sys.argv[1:10]
def tell(*words): print(*words, flush=True)
def attempt(what, do):
    try: return do()
    except (OSError, RuntimeError, MemoryError) as error: tell(what, type(error).__name__, getattr(error, 'errno', ''))
def read(path):
    # A named pipe without a writer must not hold us for ever.
    with open(path, 'rb', buffering=0, opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
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
keep, stored = [], []
for number in range(24): keep.append(attempt('descriptor', lambda: open('/dev/null')))
helper = attempt('helper', lambda: subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(30)']))
memory = attempt('memory', lambda: bytearray(b'x' * (64 << 20)))
for path in files(CACHE) + files(REPOSITORY): attempt('stored', lambda: read(path))
attempt('cache', lambda: write(os.path.join(CACHE, 'index'), SECRET.encode() * 1000))
for number, path in enumerate(files(SOURCE)):
    attempt('source', lambda: read(path))
    attempt('temp', lambda: write(os.path.join(TEMP, 'part%d' % number), os.urandom(20000)))
    attempt('repository', lambda: os.makedirs(os.path.join(REPOSITORY, 'd%d' % (number % 4)), exist_ok=True))
    data = os.urandom(90000)
    name = os.path.join('d%d' % (number % 4), 'f%d' % number)
    attempt('repository', lambda: write(os.path.join(REPOSITORY, name), data))
    stored.append(name + '.done ' + hashlib.sha256(data).hexdigest())
attempt('index', lambda: write(os.path.join(REPOSITORY, 'index'), '\n'.join(stored).encode()))
def echo():
    with socket.create_connection((HOST, int(PORT)), 0.5) as sock:
        sock.settimeout(0.5)
        data = os.urandom(65536)
        if HTTP: sock.sendall(b'PUT /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 65536\r\n\r\n')
        sender = threading.Thread(target=lambda: attempt('send', lambda: sock.sendall(data)))
        sender.start()
        back = b''
        while HTTP or len(back) < len(data):
            chunk = sock.recv(65536)
            if not chunk: break
            back += chunk
        sender.join()
        if not back.endswith(data): tell('echo differs', back[:40])
end = time.monotonic() + float(SECONDS)
while PORT != '0' and time.monotonic() < end: attempt('dial', echo); time.sleep(0.01)
while time.monotonic() < end: sum(range(10000)); time.time()
if helper: helper.kill(); attempt('helper', helper.wait)
attempt('unlock', lambda: os.unlink(lock))
tell('done', time.time())
"""
CHECK = """
import hashlib, os, sys
for line in open(sys.argv[1] + '/index.done').read().splitlines():
    name, digest = line.split(' ')
    if hashlib.sha256(open(os.path.join(sys.argv[1], name), 'rb').read()).hexdigest() != digest: sys.exit(name + ' is damaged')
"""
LITTER = "import os, sys\nwith open(sys.argv[1] + '/unused', 'wb') as file: file.write(os.urandom(400_000))"
"""Beside what is stored lies a large file that nobody needs."""
IDLE = "echo idle; exec sleep 0.3"


class Universal(Probe):
    """The program as a target, with everything that some fault asks of one. ``idle`` may be set at any time."""

    def __init__(
        self,
        *,
        idle: bool = False,
        seconds: float = 0.0,
        http: bool = False,
        env: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__((), env)
        self.idle, self.seconds, self.http = idle, seconds, http

    def _arguments(self, work: Workspace) -> tuple[str, ...]:
        remote = work.location.kind != "local"
        repository = work.location.path if not remote else work.state
        place = (work.location.host, str(work.location.port)) if remote else ("", "0")
        how = ("http" if self.http else "", str(self.seconds))
        return (work.source, repository, work.cache, work.temp, *place, work.password, *how)

    def backup(self, work: Workspace) -> Command:
        if self.idle:
            return Command(("sh", "-c", IDLE, "sh", work.password))
        return Command((sys.executable, "-c", WORK, *self._arguments(work)), self.env)

    def init(self, work: Workspace) -> tuple[Command, ...]:
        return ()

    def check(self, work: Workspace) -> Command:
        return Command((sys.executable, "-c", CHECK, work.location.path))

    def litter(self, work: Workspace) -> Command:
        return Command((sys.executable, "-c", LITTER, work.location.path))

    def drifted(self, work: Workspace) -> Command:
        if self.idle:
            return Command(("sh", "-c", IDLE, "sh", work.password, "another version"))
        return Command((sys.executable, "-c", WORK + "\ntell('another version')", *self._arguments(work)))

    def prune(self, work: Workspace) -> Command:
        return Command((sys.executable, "-c", "import time; time.sleep(0.2)"))

    def pipeline(self, work: Workspace) -> Any:
        """The pipe takes 64 KiB; the producer has more to say than that before it dies."""
        producer = "import os\nfor _ in range(64): os.write(1, os.urandom(4096))"
        if self.idle:
            return Command((sys.executable, "-c", producer)), self.backup(work)
        reader = "import sys\nwhile sys.stdin.buffer.read(65536): pass"
        return Command((sys.executable, "-c", producer)), Command((sys.executable, "-c", reader))
