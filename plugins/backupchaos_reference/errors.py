"""What can go wrong, with one status code each; and how an OSError becomes one of them.

Status codes are HTTP-like so that a log reader needs no second table:
100 start, 102 running, 103 retrying, 200 success, 400 usage, 403 permission, 404 missing, 409 changing,
422 integrity, 423 locked, 499 signal, 500 other, 503 network, 507 disk full.
"""

from __future__ import annotations

import errno
import os
from typing import ClassVar

START, RUNNING, RETRYING, SUCCESS, OTHER = 100, 102, 103, 200, 500

LOCKED_ERRNOS = frozenset({errno.EBUSY, errno.EAGAIN, errno.ETXTBSY})
FULL_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT})
DENIED_ERRNOS = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
NETWORK_ERRNOS = frozenset(
    {
        errno.ECONNREFUSED, errno.ECONNRESET, errno.ECONNABORTED, errno.ETIMEDOUT, errno.EPIPE, errno.ENETDOWN,
        errno.ENETUNREACH, errno.ENETRESET, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENOTCONN, errno.ESTALE,
    }
)  # fmt: skip


class EngineError(Exception):
    """Something failed.  `path` names a file, `link` the way to the repository; the message is for people."""

    status_code: ClassVar[int] = OTHER

    def __init__(self, message: str, *, path: bytes | str | None = None, link: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.path = path
        self.link = link


class UsageError(EngineError):
    """The caller asked for something that makes no sense; exit code 2."""

    status_code = 400


class AccessError(EngineError):
    """Permission denied; never retried."""

    status_code = 403


class MissingError(EngineError):
    """A file of the repository, or the repository itself, is not there."""

    status_code = 404


class ChangedError(EngineError):
    """A source file kept changing while it was read."""

    status_code = 409


class IntegrityError(EngineError):
    """Stored data is not what was stored."""

    status_code = 422


class LockedError(EngineError):
    """A source file is locked by somebody else; its open is retried a few times."""

    status_code = 423


class NetworkError(EngineError):
    """The link to the repository is refused, cut, or silent; retried with backoff."""

    status_code = 503


class DiskFullError(EngineError):
    """No space or quota left; never retried."""

    status_code = 507


def show(path: bytes | str) -> str:
    """A path as plain text: bytes that are not UTF-8 appear as ``\\xNN`` (so that any JSON reader can cope)."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def from_os_error(error: OSError, *, side: str, path: bytes | str, link: str | None = None) -> EngineError:
    """The engine's error for `error`.  `side` is "source", "repository" or "target" and decides what may be retried."""
    code, shown = error.errno, show(path)
    reason = f"{errno.errorcode.get(code or 0, 'error')}: {error.strerror or error}"
    if code in FULL_ERRNOS:
        return DiskFullError(
            f"disk full: no space left for {side} file {shown} ({reason})", path=path, link=link
        )
    if code in DENIED_ERRNOS:
        return AccessError(f"permission denied on {side} file {shown} ({reason})", path=path, link=link)
    if side == "source" and code in LOCKED_ERRNOS:
        return LockedError(f"source file {shown} is locked ({reason})", path=path)
    if side == "repository" and code in NETWORK_ERRNOS:
        return NetworkError(
            f"link to the repository {link} failed at {shown} ({reason})", path=path, link=link
        )
    if code == errno.ENOENT:
        return MissingError(f"{side} file {shown} is missing ({reason})", path=path, link=link)
    return EngineError(f"cannot use {side} file {shown} ({reason})", path=path, link=link)
