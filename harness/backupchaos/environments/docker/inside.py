"""The agent's entry point in a container: ``python -ISB inside.py <socket path>``, as PID 1.

It connects to the harness by a socket in a directory that both see, and serves it as the local agent does. With
the harness's end of the socket goes the agent, and with PID 1 the whole container.
"""

from __future__ import annotations

import os
import signal
import socket
import sys

_SOURCE_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))


def main() -> None:
    """Connect, take the configuration, serve to the end."""
    sys.path.insert(0, _SOURCE_ROOT)
    from backupchaos.environments.docker.keeping import ContainerServer
    from backupchaos.environments.local.channel import Channel

    os.umask(0o022)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the harness ends us by its socket, Docker by SIGKILL
    requests, events = (Channel(_connect(sys.argv[1], name)) for name in (b"r", b"e"))
    try:
        config, _ = requests.receive()
    except EOFError:
        return
    requests.send({"ready": os.getpid()})
    ContainerServer(requests, events, config["volumes"], mounts=config["mounts"]).run()


def _connect(path: str, name: bytes) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.connect(path)
    sock.sendall(name)
    return sock


if __name__ == "__main__":
    main()
