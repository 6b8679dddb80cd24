"""Start a program: fork, arrange the child, execute.

The child of the single-threaded agent may run Python until ``execve``; everything that can be
computed is computed before the fork. Failures come back through a pipe that ``execve`` closes.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import resource
import signal
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from backupchaos.environments.local import isolation, kernel
from backupchaos.environments.local.processes import LIMIT_BASE, MARK

CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_SYS_PTRACE, CAP_SYS_ADMIN = 1, 2, 19, 21
_DAC = 1 << CAP_DAC_OVERRIDE | 1 << CAP_DAC_READ_SEARCH
# What root may do to files and to its own network. Without SYS_ADMIN, MODULE, RAWIO, BOOT, TIME
# and the like, read-only mounts stay read-only and the machine behind the sandbox stays as it is.
_FILE_CAPABILITIES = 0b1111_1111 | 1 << 8 | 1 << 9 | 1 << 27 | 1 << 29 | 1 << 31
_OTHER_CAPABILITIES = 1 << 10 | 1 << 12 | 1 << 13 | 1 << 14 | 1 << 15 | 1 << 18 | 1 << 23 | 1 << 24 | 1 << 28
_KEEP = _FILE_CAPABILITIES | _OTHER_CAPABILITIES
_HIGH = 64
"""Descriptors are parked above this number while they are put in order."""


class CannotRun(Exception):
    """The program cannot be started; the text is for the user."""


def launch(
    request: Mapping[str, Any],
    fds: Sequence[int],
    number: int,
    install_filter: Callable[[], bool] | None = None,
) -> int:
    """Start ``request`` (argv, env, cwd, role, inside, drop_dac, user, rlimits, hostname) and return its pid.

    ``request["inside"]`` holds the number in the child for each of ``fds``; through those that are left over
    it joins control groups.
    Raises ``CannotRun`` with a message that names the cause.
    """
    argv: list[str] = request["argv"]
    env = dict(request["env"])
    program = find_program(argv[0], env.get("PATH", ""), request["cwd"])
    env[MARK] = f"{request['role']}:{number}"
    mask = kernel.capabilities() & _KEEP & ~(_DAC if request.get("drop_dac") else 0)
    last = kernel.last_capability()
    report, report_end = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        step = "setup"
        try:
            groups = _descriptors(fds, request["inside"])
            _settle(number)
            step = "cwd"
            os.chdir(request["cwd"])
            step = "hostname"
            _call_host(request.get("hostname"))
            step = "privileges"
            _privileges(mask, last, request.get("user"))
            step = "control group"
            for fd in groups:
                os.write(fd, b"0")
            if install_filter:
                step = "system call filter"
                if not install_filter():  # Go's preemption signals would abort and repeat stopped calls
                    env["GODEBUG"] = ",".join(filter(None, (env.get("GODEBUG"), "asyncpreemptoff=1")))
            step = "resource limits"  # last, since what we do up to here must not meet them
            _limit(request.get("rlimits") or {})
            step = "exec"
            os.execve(program, argv, env)  # noqa: S606 - that is what we are for
        except BaseException as problem:  # whatever it is, the parent must hear of it
            number = getattr(problem, "errno", None) or 0
            os.write(report_end, json.dumps([step, number, str(problem)]).encode())
        finally:
            os._exit(127)
    os.close(report_end)
    with open(report, "rb") as pipe:
        failure = pipe.read()
    if failure:
        os.waitpid(pid, 0)
        raise CannotRun(f"cannot run {argv[0]}: " + _explain(program, request["cwd"], json.loads(failure)))
    return pid


def find_program(name: str, path: str, cwd: str) -> str:
    """The file to execute; raises ``CannotRun`` saying what was looked for."""
    if "/" in name:
        full = os.path.join(cwd, name)
        if not os.path.exists(full):
            hint = ""
            if isolation.hidden(full):
                hint = "; what lies there is hidden from the sandbox unless it is exposed"
            raise CannotRun(f"cannot run {name}: no such file{hint}")
        if os.path.isdir(full):
            raise CannotRun(f"cannot run {name}: it is a directory")
        if not _executable(full):
            raise CannotRun(f"cannot run {name}: it is not executable; chmod +x it")
        return full
    blocked = ""
    for folder in path.split(":"):
        full = os.path.join(folder, name)
        if folder and os.path.isfile(full):
            if _executable(full):
                return full
            blocked = f"; {full} exists but is not executable"
    raise CannotRun(f"cannot run {name}: not found on PATH ({path or 'which is empty'}){blocked}")


def _executable(path: str) -> bool:
    try:
        return os.access(path, os.X_OK) and bool(os.stat(path).st_mode & 0o111)
    except OSError:
        return False


def _descriptors(fds: Sequence[int], inside: Sequence[int]) -> list[int]:
    """Put each descriptor on its number; all others close on exec. Returns those that have no number."""
    floor = max([_HIGH, *inside]) + 1
    parked = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, floor) for fd in fds]
    for fd, number in zip(parked, inside, strict=False):
        os.dup2(fd, number)
    if any(number not in inside for number in (0, 1, 2)):
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        for number in (0, 1, 2):
            if number not in inside:
                os.dup2(null, number)
    return parked[len(inside) :]


def _settle(mark: int) -> None:
    """Be a process of one's own, with the signals of a fresh one, and bear the mark of the spawn."""
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)  # Python and the harness ignore some; exec would hand that on
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    os.setsid()
    os.umask(0o022)
    try:
        _, hard = resource.getrlimit(resource_msgqueue := 12)  # RLIMIT_MSGQUEUE has no name in Python
        resource.setrlimit(resource_msgqueue, (LIMIT_BASE + mark, hard))
    except (OSError, ValueError):
        pass  # the environment variable is left as the only mark


def _limit(rlimits: Mapping[str, int]) -> None:
    """Set resource limits, hard and soft; never above what holds already, which few may do."""
    for name, value in rlimits.items():
        which = getattr(resource, f"RLIMIT_{name.upper()}", None)
        if which is None:
            raise ValueError(f"unknown resource limit {name!r}")
        _, most = resource.getrlimit(which)
        allowed = value if most == resource.RLIM_INFINITY else min(value, most)
        resource.setrlimit(which, (allowed, allowed))


def _call_host(name: str | None) -> None:
    """Be on a machine of another name, in a name space of one's own."""
    if name is None:
        return
    try:
        kernel.unshare(kernel.CLONE_NEWUTS)
    except PermissionError:  # an ordinary user in a plain sandbox may do it as root of a user namespace only
        _become(os.getuid(), kernel.CLONE_NEWUTS)
    kernel.set_hostname(name)


def _privileges(mask: int, last: int, user: int | None) -> None:
    if user is not None:
        _become(user)
        mask = 0
    if kernel.capabilities():
        for capability in range(last + 1):
            if not mask >> capability & 1:
                try:
                    kernel.prctl(kernel.PR_CAPBSET_DROP, capability)
                except OSError as problem:
                    if problem.errno != errno.EPERM:
                        raise
        kernel.prctl(kernel.PR_CAP_AMBIENT, kernel.PR_CAP_AMBIENT_CLEAR_ALL)
        kernel.set_capabilities(mask)
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)  # last: changes of credentials clear it
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)


def _become(user: int, also: int = 0) -> None:
    """Be ``user`` instead of root, in a user namespace of its own: owners on disk do not change."""
    uid, gid = os.getuid(), os.getgid()
    kernel.unshare(kernel.CLONE_NEWUSER | also)
    for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {uid} 1"), ("gid_map", f"{user} {gid} 1")):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(text)


def _explain(program: str, cwd: str, failure: tuple[str, int, str]) -> str:
    step, number, text = failure
    if step == "cwd":
        return f"its working directory {cwd} cannot be entered: {os.strerror(number)}"
    if step != "exec":
        return f"{step}: {text}"
    if number == errno.ENOENT:
        return f"{program} exists, but the interpreter or loader that it names does not"
    if number == errno.ENOEXEC:
        return f"{program} is no program for this machine, or a script without a #! line"
    return f"{program}: {os.strerror(number)}"
