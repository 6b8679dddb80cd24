"""Reading what a tool prints: bounded, decoded, split into lines, secrets hidden.

A tool may print a gigabyte, binary garbage or one endless line; none of that may cost
memory or lose the time stamps of the lines that matter.
"""

from __future__ import annotations

from collections.abc import Iterable

from backupchaos.commands import uncoloured

MAX_LINE = 16 * 1024
HEAD = 2 * 2**20
TAIL = 2 * 2**20


class LineSplitter:
    """Turns chunks of bytes into decoded lines; over-long lines are cut, not kept."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._buffer = b""
        self._skipping = False
        self._secrets = tuple(secret for secret in secrets if len(secret) >= 4)

    def feed(self, chunk: bytes) -> list[str]:
        """The lines that this chunk completes."""
        lines: list[str] = []
        parts = (self._buffer + chunk).split(b"\n")
        self._buffer = parts.pop()
        for part in parts:
            if self._skipping:
                self._skipping = False
                continue
            lines.append(self._text(part))
        if len(self._buffer) > MAX_LINE:
            if not self._skipping:
                lines.append(self._text(self._buffer[:MAX_LINE]) + " … [line cut]")
            self._skipping = True
            self._buffer = b""
        return lines

    def finish(self) -> list[str]:
        """The last line, if the output did not end with a newline."""
        rest, self._buffer = self._buffer, b""
        return [self._text(rest)] if rest and not self._skipping else []

    def _text(self, raw: bytes) -> str:
        if len(raw) > MAX_LINE:
            raw = raw[:MAX_LINE] + b" [line cut]"
        text = uncoloured(raw.rstrip(b"\r").decode("utf-8", "backslashreplace"))
        for secret in self._secrets:
            text = text.replace(secret, "•••")
        return text


class Capture:
    """Keeps the beginning and the end of an output of any size."""

    def __init__(self, head: int = HEAD, tail: int = TAIL) -> None:
        self._head = bytearray()
        self._tail = bytearray()
        self._limits = head, tail
        self.total = 0

    def feed(self, chunk: bytes) -> None:
        """Add output."""
        self.total += len(chunk)
        room = self._limits[0] - len(self._head)
        if room > 0:
            self._head += chunk[:room]
            chunk = chunk[room:]
        if chunk:
            self._tail += chunk
            if len(self._tail) > 2 * self._limits[1]:
                del self._tail[: -self._limits[1]]

    @property
    def truncated(self) -> bool:
        """Something in the middle was left out."""
        return self.total > len(self._head) + min(len(self._tail), self._limits[1])

    def text(self) -> str:
        """What was kept, decoded; a notice stands where something was left out."""
        tail = self._tail[-self._limits[1] :] if self.truncated else self._tail
        left_out = self.total - len(self._head) - len(tail)
        notice = f"\n… [{left_out} bytes left out] …\n".encode() if left_out else b""
        return bytes(self._head + notice + tail).decode("utf-8", "backslashreplace")
