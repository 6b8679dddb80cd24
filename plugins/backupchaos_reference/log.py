"""The log: JSON lines on stderr, one object a line, pure ASCII, never a reason to crash."""

from __future__ import annotations

import json
import secrets
import sys
import time
from typing import Any, Literal

from backupchaos_reference import errors, misbehaviour

Level = Literal["info", "warning", "error"]


def timestamp(at: float | None = None) -> str:
    """RFC 3339 in UTC with microseconds."""
    nanoseconds = time.time_ns() if at is None else int(at * 1_000_000_000)
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest // 1000:06d}Z"


class Log:
    """Writes the records of one command; `trace_id` and `job_id` are in each of them."""

    def __init__(self, command: str, *, job_id: str | None = None) -> None:
        self.command = command
        self.trace_id = secrets.token_hex(16)
        self.job_id = job_id or secrets.token_hex(16)

    def failure(self, error: errors.EngineError) -> None:
        """Write the error record that names what failed, its path and its link."""
        fields: dict[str, Any] = {}
        if error.path is not None:
            fields["path"] = errors.show(error.path)
        if error.link is not None:
            fields["link"] = error.link
        self.record("error", "error", error.message, error.status_code, **fields)

    def record(self, level: Level, event: str, message: str, status_code: int, **fields: Any) -> None:
        """Write one record; fields that are None are left out."""
        line_fields = {
            "ts": timestamp(),
            "level": level,
            "event": event,
            "message": message,
            "trace_id": self.trace_id,
            "job_id": self.job_id,
            "status_code": status_code,
            "command": self.command,
        } | {name: value for name, value in fields.items() if value is not None}
        if misbehaviour.on("no_error_log") and level == "error":
            return
        if misbehaviour.on("no_trace_id"):
            del line_fields["trace_id"]
        if misbehaviour.on("no_status_code"):
            del line_fields["status_code"]
        line = json.dumps(line_fields).encode("ascii") + b"\n"
        if misbehaviour.on("binary_log"):
            line = b"\x1b[31m\x00\xff\xfe\x1b]0;owned\x07" + line + b"\xc3\x28 \x1b[2J\r\n"
        emit(line)


def emit(line: bytes) -> None:
    """Write one line to stderr in one piece.  A log that cannot be written must not decide over the backup."""
    stream = sys.stderr
    try:
        buffer = getattr(stream, "buffer", None)
        if buffer is None:
            stream.write(line.decode("ascii", "replace"))
        else:
            buffer.write(line)
            buffer.flush()
    except (OSError, ValueError):
        pass
