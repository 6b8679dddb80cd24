"""Really trying the supervisor's mechanism on a child of this process."""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import signal
import socket

from backupchaos.environments.local import kernel
from backupchaos.syscalls import filters
from backupchaos.syscalls.decode import Memory
from backupchaos.syscalls.listener import NOTIFICATION, RECEIVE, RESPONSE, SEND
from backupchaos.syscalls.tables import ARCHITECTURES

_GETPPID = {"x86_64": 110, "aarch64": 173}
_MAGIC = 4242


def try_all() -> dict[str, str]:
    """Reasons by capability, empty where it works.

    ``syscalls``: a stopped call gets our answer. ``killable``: WAIT_KILLABLE_RECV. ``memory``: the
    caller's memory can be read. ``pidfd``: signals by pidfd.
    """
    reasons = {"pidfd": _try_pidfd()}
    if kernel.MACHINE not in ARCHITECTURES:
        text = f"the supervisor knows x86_64 and aarch64, not {kernel.MACHINE}"
        return reasons | {"syscalls": text, "killable": text, "memory": text}
    return reasons | _try_notification()


def _try_pidfd() -> str:
    try:
        handle = os.pidfd_open(os.getpid())
        signal.pidfd_send_signal(handle, 0)
        os.close(handle)
    except OSError as problem:
        return f"signals by pidfd fail ({problem.strerror}); Linux 5.3 has them"
    return ""


def _try_notification() -> dict[str, str]:
    secret = ctypes.create_string_buffer(b"backupchaos")
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        _child(theirs)
    theirs.close()
    try:
        ours.settimeout(5)
        note, fds, _, _ = socket.recv_fds(ours, 200, 1)
        if not fds:
            refused = f"seccomp user notification is refused ({note.decode(errors='replace')}): an old kernel, gVisor, "
            refused += "or a strict container profile"
            return {"syscalls": refused, "killable": refused, "memory": refused}
        reasons = {
            "killable": ""
            if note == b"1"
            else "Linux before 5.19: Go targets run with GODEBUG=asyncpreemptoff=1"
        }
        try:
            reasons["memory"] = (
                ""
                if Memory().text(pid, ctypes.addressof(secret)) == b"backupchaos"
                else "a wrong value was read"
            )
        except OSError as problem:
            reasons["memory"] = (
                f"the memory of a stopped process cannot be read ({problem.strerror}): ptrace is restricted"
            )
        reasons["syscalls"] = _answer_one(fds[0]) or _verdict(ours)
        os.close(fds[0])
    except TimeoutError:
        return dict.fromkeys(
            ("syscalls", "killable", "memory"), "seccomp user notification gave no sign within 5 s"
        )
    finally:
        ours.close()
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    if reasons["memory"]:
        reasons["syscalls"] = reasons["syscalls"] or reasons["memory"]
    return reasons


def _child(sock: socket.socket) -> None:
    try:
        kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
        try:
            listener, killable = filters.install(filters.program([_GETPPID[kernel.MACHINE]]))
        except OSError as problem:
            sock.send(str(problem.strerror).encode())
            return
        socket.send_fds(sock, [b"1" if killable else b"0"], [listener])
        sock.send(b"right" if os.getppid() == _MAGIC else b"wrong")
        signal.pause()
    finally:
        os._exit(0)


def _answer_one(listener: int) -> str:
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    if not poll.poll(5000):
        return "a stopped call was never reported"
    buffer = bytearray(NOTIFICATION.size)
    fcntl.ioctl(listener, RECEIVE, buffer)
    fcntl.ioctl(listener, SEND, RESPONSE.pack(NOTIFICATION.unpack(buffer)[0], _MAGIC, 0, 0))
    return ""


def _verdict(sock: socket.socket) -> str:
    return "" if sock.recv(5) == b"right" else "a stopped call did not get our answer"
