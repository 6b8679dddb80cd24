"""Taking permissions away and giving them back; locks that others hold."""

from __future__ import annotations

import errno
import fcntl
import os
import stat

from backupchaos.environments.operations.files import walk

_REFUSED = frozenset({errno.EAGAIN, errno.EACCES})


def deny_tree(root: str) -> dict[str, list[int] | list[str]]:
    """Mode 000 for a directory and every directory below it: nobody without overrides passes any of them.

    All of them, since whoever stands in one, or holds it open, does not need those above. Returns
    ``paths`` and the ``modes`` they had, as ``allow_tree`` wants them.
    """
    errors: list[str] = []
    below = [
        os.path.join(root, path) for path, entry in walk(root, errors) if entry.is_dir(follow_symlinks=False)
    ]
    if errors:
        raise OSError(errno.EACCES, errors[0], root)
    paths = sorted([root, *below], key=lambda path: path.count("/"))
    modes = [stat.S_IMODE(os.lstat(path).st_mode) for path in paths]
    for path in reversed(paths):  # from below: above a closed directory there is no way for us either
        os.chmod(path, 0)
    return {"paths": paths, "modes": modes}


def allow_tree(paths: list[str], modes: list[int]) -> list[str]:
    """Give the modes back, each even if another fails; returns what failed. What is gone needs none."""
    failed = []
    for path, mode in zip(paths, modes, strict=True):
        try:
            os.chmod(path, mode)
        except FileNotFoundError:
            continue
        except OSError as problem:
            failed.append(f"{path}: {problem.strerror}")
    return failed


def held_open(root: str) -> int:
    """How many descriptors of visible processes are open on something below a directory."""
    count = 0
    for process in filter(str.isdigit, os.listdir("/proc")):
        try:
            for fd in os.listdir(f"/proc/{process}/fd"):
                count += os.readlink(f"/proc/{process}/fd/{fd}").startswith(f"{root}/")
        except OSError:
            continue  # it has ended, or is somebody else's
    return count


def lock_state(path: str) -> dict[str, bool]:
    """Whether somebody else's ``flock`` and ``fcntl`` locks keep us from locking a file."""
    fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        return {"flock": _refused(fcntl.flock, fd), "fcntl": _refused(fcntl.lockf, fd)}
    finally:
        os.close(fd)


def _refused(lock: object, fd: int) -> bool:
    try:
        lock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)  # type: ignore[operator]
    except OSError as problem:
        if problem.errno not in _REFUSED:
            raise
        return True
    lock(fd, fcntl.LOCK_UN)  # type: ignore[operator]
    return False
