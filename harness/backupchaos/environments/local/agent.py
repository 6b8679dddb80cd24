"""The agent's entry point: ``python -IS agent.py <request fd> <event fd> <harness pid>``.

This first process leaves the host and forks the sandbox's PID 1, then only waits. It ends with
the harness (seen through a pidfd, since a parent-death signal follows the harness's *thread*),
and PID 1 ends with it: with PID 1 the kernel ends everything inside, and with the last process
go the mounts and the network. Nothing of a namespace sandbox exists outside of the kernel.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
from typing import Any

_SOURCE_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))


def main() -> None:
    """Read the configuration from the harness and become the sandbox."""
    sys.path.insert(0, _SOURCE_ROOT)
    from backupchaos.environments.local.channel import Channel

    os.umask(0o022)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])  # the harness may block what we live on
    request_fd, event_fd, harness = (int(text) for text in sys.argv[1:4])
    watch = _harness_handle(harness)
    for fd in (request_fd, event_fd):
        os.set_inheritable(fd, False)
    requests = Channel(socket.socket(fileno=request_fd))
    events = Channel(socket.socket(fileno=event_fd))
    try:
        config, _ = requests.receive()
    except EOFError:
        return
    if config["mechanism"] == "plain":
        from backupchaos.environments.local import plain

        plain.serve(requests, events, config, watch)
        return
    _namespaces(requests, events, config, watch)


def _harness_handle(harness: int) -> int:
    """A descriptor that becomes readable when the harness is gone."""
    handle = os.pidfd_open(harness) if os.getppid() == harness else -1
    if handle < 0 or os.getppid() != harness:  # it died before we could look
        os._exit(1)
    return handle


def _namespaces(requests: Any, events: Any, config: dict[str, Any], watch: int) -> None:
    from backupchaos.environments.local import isolation, kernel

    try:
        isolation.leave_host(config["mechanism"] == "userns")
    except OSError as problem:
        requests.send({"failed": problem.filename, "errno": problem.errno, "text": str(problem)})
        return
    pid = os.fork()
    if pid == 0:
        try:
            kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
            os.close(watch)
            _init(requests, events, config)
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(1)
    requests.close()
    events.close()
    poll = select.poll()
    poll.register(watch, select.POLLIN)
    poll.register(os.pidfd_open(pid), select.POLLIN)
    poll.poll()
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)  # returns when everything inside is gone


def _init(requests: Any, events: Any, config: dict[str, Any]) -> None:
    """PID 1 of the sandbox."""
    from backupchaos.environments.local import isolation, kernel
    from backupchaos.environments.local.supervised import SupervisedServer

    root = isolation.Root(config["volumes"], config["keep"], config["writable"])
    try:
        isolation.loopback_up()
        kernel.set_hostname(isolation.HOSTNAME)
        root.build()
    except OSError as problem:
        requests.send({"failed": problem.filename, "errno": problem.errno, "text": str(problem)})
        return
    requests.send({"ready": os.getpid(), "weak": root.weak})
    volumes = {name: f"{isolation.BASE}/{name}" for name in config["volumes"]}
    SupervisedServer(requests, events, root, volumes, config["writable"]).run()


if __name__ == "__main__":
    main()
