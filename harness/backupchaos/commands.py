"""What an adapter asks the engine to run: a command as a value.

Adapters never start processes. They return commands; the engine runs them inside the
sandbox, watches them and keeps their output. That makes adapters pure and easy to test,
and the same adapter works in namespaces and in containers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
SAID = 500
"""Characters of a command's last words that are quoted."""


def uncoloured(text: str) -> str:
    """``text`` without ANSI colours: some tools paint what no terminal will show. Other escapes stay, to be seen."""
    return _COLOUR.sub("", text)


@dataclass(frozen=True)
class Command:
    """A program with everything it needs; nothing is inherited from the harness.

    ``env`` is complete except for what the sandbox itself sets (PATH, HOME, TMPDIR, LANG,
    XDG directories). ``secrets`` are replaced by ``•••`` in every stored text.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str | None = None
    stdin: bytes = b""
    secrets: tuple[str, ...] = ()

    def display(self) -> str:
        """The command line as a person would type it, secrets hidden."""
        import shlex

        text = shlex.join(self.argv)
        for secret in self.secrets:
            text = text.replace(secret, "•••")
        return text


@dataclass(frozen=True)
class Completed:
    """A command that ended: exit code (or negative signal number), output, seconds.

    ``timed_out`` is true when the harness ended it at its deadline. Output is decoded with
    ``backslashreplace`` and capped; ``truncated`` says whether the cap was reached.
    """

    command: Command
    returncode: int
    stdout: str
    stderr: str
    duration: float
    timed_out: bool = False
    truncated: bool = False

    @property
    def ok(self) -> bool:
        """Exit code 0, and not ended by the harness."""
        return self.returncode == 0 and not self.timed_out

    @property
    def output(self) -> str:
        """Standard output, then standard error."""
        return self.stdout + self.stderr

    @property
    def last_words(self) -> str:
        """The last three lines of the output in one, short."""
        lines = [line.strip() for line in uncoloured(self.output).splitlines() if line.strip()]
        return " / ".join(lines[-3:])[:SAID] or "it printed nothing"
