"""Really trying the supervisor's mechanism on a child of this process."""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Callable

from backupchaos.environments.local import kernel, vdso
from backupchaos.syscalls import filters, shortening
from backupchaos.syscalls.decode import Memory
from backupchaos.syscalls.listener import CONTINUE, NOTIFICATION, RECEIVE, RESPONSE, SEND
from backupchaos.syscalls.tables import ARCHITECTURES

_GETPPID = {"x86_64": 110, "aarch64": 173}
_MAGIC = 4242
_SECRET = b"backupchaos"
_PATIENCE = 10
_NAMES = ("syscalls", "killable", "memory", "short_writes", "clock")


def try_all() -> dict[str, str]:
    """Reasons by capability, empty where it works.

    ``syscalls``: a stopped call gets our answer, another is made. ``killable``: WAIT_KILLABLE_RECV.
    ``memory``: the caller's memory can be read. ``short_writes``: its descriptors can be borrowed.
    ``clock``: the vDSO of a program can be hidden at its exec. ``pidfd``: signals by pidfd.
    """
    reasons = {"pidfd": _try_pidfd()}
    if kernel.MACHINE not in ARCHITECTURES:
        text = f"the supervisor knows x86_64 and aarch64, not {kernel.MACHINE}"
        return reasons | dict.fromkeys(_NAMES, text)
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
    """A target and a supervisor, both children of this process, as in earnest: Yama tells kin from strangers."""
    secret = ctypes.create_string_buffer(_SECRET)
    ours, theirs = socket.socketpair()
    answer, answer_end = os.pipe2(os.O_CLOEXEC)
    children = [_forked(lambda: _target(theirs))]
    target = children[0]
    theirs.close()
    try:
        children.append(_forked(lambda: _supervisor(ours, target, ctypes.addressof(secret), answer_end)))
        os.close(answer_end)
        found = _answers(answer)
    finally:
        ours.close()
        os.close(answer)
        for pid in children:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    silence = f"seccomp user notification gave no sign within {_PATIENCE} s"
    reasons = {name: found.get(name, silence) for name in _NAMES}
    reasons["syscalls"] = reasons["syscalls"] or reasons["memory"]
    return reasons


def _answers(pipe: int) -> dict[str, str]:
    """What the trial supervisor has found out, as far as it came."""
    found: dict[str, str] = {}
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    while "clock" not in found and poll.poll(_PATIENCE * 1000):
        lines = os.read(pipe, 1 << 16)
        if not lines:
            break
        for line in lines.splitlines():  # each was written at once, and is shorter than PIPE_BUF
            found |= json.loads(line)
    return found


def _forked(work: Callable[[], None]) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
            work()
        finally:
            os._exit(0)
    return pid


def _target(sock: socket.socket) -> None:
    machine = kernel.MACHINE
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    try:
        listener, killable = filters.install(filters.program([_GETPPID[machine], *vdso.EXEC_CALLS[machine]]))
    except OSError as problem:
        sock.send(str(problem.strerror).encode())
        return
    socket.send_fds(sock, [b"1" if killable else b"0"], [listener])
    answered, made = os.getppid(), os.getppid()
    sock.send(b"right" if (answered, made) == (_MAGIC, _parent()) else b"wrong")
    os.execv(sys.executable, [sys.executable, "-ISc", "import signal; signal.pause()"])  # noqa: S606


def _parent() -> int:
    with open("/proc/self/stat", "rb") as file:
        return int(file.read().rsplit(b")", 1)[1].split()[1])


def _supervisor(sock: socket.socket, target: int, secret: int, answer: int) -> None:
    def tell(**reasons: str) -> None:
        os.write(answer, json.dumps(reasons).encode() + b"\n")

    note, fds, _, _ = socket.recv_fds(sock, 200, 1)
    if not fds:
        refused = f"seccomp user notification is refused ({note.decode(errors='replace')}): an old kernel, "
        tell(**dict.fromkeys(_NAMES, refused + "gVisor, or a strict container profile"))
        return
    tell(killable="" if note == b"1" else "Linux before 5.19: Go targets run with asyncpreemptoff=1")
    tell(memory=_try_memory(target, secret), short_writes=_try_borrowing(target, sock.fileno()))
    try:
        _serve(fds[0], RESPONSE.pack(0, _MAGIC, 0, 0))
        _serve(fds[0], RESPONSE.pack(0, 0, 0, CONTINUE))
    except OSError as problem:
        failed = f"a stopped call cannot be answered ({problem.strerror}); Linux 5.5 can"
        tell(syscalls=failed, clock=failed)
        return
    tell(syscalls="" if sock.recv(5) == b"right" else "a stopped call did not get our answer")
    tell(clock=_try_hiding(fds[0], target))


def _try_hiding(listener: int, target: int) -> str:
    memory = Memory()
    try:
        buffer = _receive(listener)
        vdso.seize(target)
        fcntl.ioctl(listener, SEND, RESPONSE.pack(NOTIFICATION.unpack(buffer)[0], 0, 0, CONTINUE))
        vdso.nudge(target)
        _, status = os.waitpid(target, vdso.WALL)
        if not vdso.after_exec(status):
            return "a traced program did not stop after its exec"
        vdso.hide(target, memory.read, memory.write)
    except vdso.StillThere as problem:
        return f"the vDSO cannot be hidden: {problem}"
    except OSError as problem:
        return f"the vDSO cannot be hidden: ptrace is refused ({problem.strerror}), by Yama or a container"
    return ""


def _serve(listener: int, response: bytes) -> None:
    """Answer the next call."""
    fcntl.ioctl(listener, SEND, _receive(listener)[:8] + response[8:])


def _receive(listener: int) -> bytearray:
    buffer = bytearray(NOTIFICATION.size)
    fcntl.ioctl(listener, RECEIVE, buffer)
    return buffer


def _try_memory(target: int, secret: int) -> str:
    try:
        return "" if Memory().text(target, secret) == _SECRET else "a wrong value was read"
    except OSError as problem:
        return f"the memory of a stopped process cannot be read ({problem.strerror}): ptrace is restricted"


def _try_borrowing(target: int, fd: int) -> str:
    try:
        os.close(shortening.borrow(target, fd))
    except OSError as problem:
        return f"pidfd_getfd is refused ({problem.strerror}): Linux before 5.6, or a container without CAP_SYS_PTRACE"
    return ""
