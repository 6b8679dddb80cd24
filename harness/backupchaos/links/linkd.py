# ruff: noqa: E402
"""The child process that carries the traffic of all links of one sandbox.

``python -m backupchaos.links.linkd [--events-fd N] [--control-fd M] [--seed S] [--api-port P] [--isolated] [--unix]``

It must be a process of its own: a thread beside a busy Python thread adds tens of milliseconds
to every round trip. It ends at once when the control descriptor closes, so it never outlives
the harness. ``--isolated`` says that the network namespace belongs to the run alone. ``--unix`` lets the HTTP API
make links with UNIX sockets, so that whoever reaches it can use this process's rights to them.

Without a control descriptor it is a Toxiproxy server that anybody can use, on 127.0.0.1 only, until it gets SIGINT
or SIGTERM. Without a descriptor for events (1 is standard output) it keeps no log.
"""

from __future__ import annotations

import sys

# asyncio imports ssl whenever it can, for a tenth of our start-up time; no link ever uses it.
sys.modules["ssl"] = None  # type: ignore[assignment]

import asyncio
import gc
import os
import resource
import signal
import socket
from collections.abc import Callable

from backupchaos.links.control import Control
from backupchaos.links.eventlog import EventLog
from backupchaos.links.registry import Registry
from backupchaos.links.watcher import Watcher

_LINE_LIMIT = 1 << 20
_DELAY = 0.002


def _options(argv: list[str]) -> dict[str, int]:
    """``--name value`` pairs; argparse would cost a tenth of the start-up time."""
    options = {"seed": 0, "api-port": 0, "isolated": 0, "unix": 0, "events-fd": -1, "control-fd": -1}
    words = iter(argv)
    for word in words:
        name = word.removeprefix("--")
        if name in ("isolated", "unix"):
            options[name] = 1
        elif name in options:
            value = next(words, "")
            if not value.removeprefix("-").isdecimal():
                raise ValueError(f"--{name} needs a number, not {value!r}")
            options[name] = int(value)
        else:
            raise ValueError(f"unknown option {word}")
    return options


class _ControlReader:
    """Splits the control stream into lines; its end is our end."""

    def __init__(self, fd: int, control: Control, leave: Callable[[], None]) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._control = control
        self._leave = leave
        self._rest = b""

    def readable(self) -> None:
        """Take what is there."""
        try:
            data = os.read(self._fd, 1 << 16)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._control.handle(line)
        if not data or len(self._rest) > _LINE_LIMIT:
            self._leave()


def _api_socket(port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", port))
    sock.listen(64)
    sock.setblocking(False)
    return sock


def main(argv: list[str]) -> int:
    """Run until the control descriptor closes, or a signal comes."""
    try:
        options = _options(argv)
        api = _api_socket(options["api-port"])
    except (ValueError, OverflowError, OSError) as error:
        sys.stderr.write(f"linkd: {error}\n")
        return 4
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # two descriptors per connection
    watcher = Watcher()
    loop = asyncio.SelectorEventLoop(watcher)
    watcher.on_error = lambda error: loop.call_exception_handler({"message": "in a link", "exception": error})
    log = EventLog(loop, options["events-fd"])
    log.delay = _DELAY
    registry = Registry(loop, watcher, log, options["seed"], isolated=bool(options["isolated"]))
    registry.unix = bool(options["unix"])

    def leave() -> None:
        registry.leave()
        log.on_gone(lambda: None)
        log.flush()
        os._exit(0)  # at once, whatever still waits

    log.on_gone(leave)
    if options["control-fd"] >= 0:
        reader = _ControlReader(options["control-fd"], Control(registry), leave)
        loop.add_reader(options["control-fd"], reader.readable)
    else:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, leave)
        if options["events-fd"] < 0:
            print(f"Toxiproxy's API is on 127.0.0.1:{api.getsockname()[1]}", flush=True)  # noqa: T201

    def serve() -> None:
        # The HTTP side is loaded with the first request: most runs never send one this early.
        try:
            from backupchaos.links.httpd import Server
        except ImportError:  # asyncio would only print it, and whoever asked would wait for ever
            import traceback

            traceback.print_exc()
            registry.leave()
            os._exit(1)
        loop.remove_reader(api)
        Server(registry, api).start()

    loop.add_reader(api, serve)
    log.emit("ready", api=api.getsockname()[1], pid=os.getpid(), seed=options["seed"])
    gc.freeze()  # what is there now stays
    loop.run_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
