# ruff: noqa: E402
"""The child process that carries the traffic of all links of one sandbox.

``python -m backupchaos.links.linkd --events-fd N --control-fd M [--seed S] [--api-port P] [--isolated]``

It must be a process of its own: a thread beside a busy Python thread adds tens of milliseconds
to every round trip. It ends at once when the control descriptor closes, so it never outlives
the harness. ``--isolated`` says that the network namespace belongs to the run alone.
"""

from __future__ import annotations

import sys

# asyncio imports ssl whenever it can, for a tenth of our start-up time; no link ever uses it.
sys.modules["ssl"] = None  # type: ignore[assignment]

import asyncio
import os
import resource
import socket

from backupchaos.links.control import Control
from backupchaos.links.eventlog import EventLog
from backupchaos.links.registry import Registry

_LINE_LIMIT = 1 << 20


def _options(argv: list[str]) -> dict[str, int]:
    """``--name value`` pairs; argparse would cost a tenth of the start-up time."""
    options = {"seed": 0, "api-port": 0, "isolated": 0}
    words = iter(argv)
    for word in words:
        name = word.removeprefix("--")
        if name == "isolated":
            options[name] = 1
        elif name in ("events-fd", "control-fd", "seed", "api-port"):
            options[name] = int(next(words, ""))
        else:
            raise ValueError(f"unknown option {word}")
    if "events-fd" not in options or "control-fd" not in options:
        raise ValueError("--events-fd and --control-fd are needed")
    return options


class _ControlReader:
    """Splits the control stream into lines; its end is our end."""

    def __init__(self, fd: int, control: Control) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._control = control
        self._rest = b""

    def readable(self) -> None:
        """Take what is there."""
        try:
            data = os.read(self._fd, 1 << 16)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            os._exit(0)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._control.handle(line)
        if len(self._rest) > _LINE_LIMIT:
            os._exit(2)


def _api_socket(port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", port))
    sock.listen(64)
    sock.setblocking(False)
    return sock


def main(argv: list[str]) -> int:
    """Run until the control descriptor closes."""
    try:
        options = _options(argv)
    except ValueError as error:
        sys.stderr.write(f"linkd: {error}\n")
        return 4
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # two descriptors per connection
    loop = asyncio.new_event_loop()
    log = EventLog(loop, options["events-fd"])
    registry = Registry(loop, log, options["seed"], isolated=bool(options["isolated"]))
    reader = _ControlReader(options["control-fd"], Control(registry))
    loop.add_reader(options["control-fd"], reader.readable)
    api = _api_socket(options["api-port"])

    def serve() -> None:
        # The HTTP side is loaded with the first request: most runs never send one this early.
        try:
            from backupchaos.links.httpd import Server
        except ImportError:  # asyncio would only print it, and whoever asked would wait for ever
            import traceback

            traceback.print_exc()
            os._exit(1)
        loop.remove_reader(api)
        Server(registry, api).start()

    loop.add_reader(api, serve)
    log.emit("ready", api=api.getsockname()[1], pid=os.getpid(), seed=options["seed"])
    loop.run_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
