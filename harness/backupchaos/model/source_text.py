"""From the bytes of a scenario file to text that is safe to hand to the YAML parser."""

from __future__ import annotations

import re
import stat
from pathlib import Path

from backupchaos.model.problems import Problem, ScenarioErrors

SIZE_LIMIT = 256 * 1024
# The line breaks of YAML 1.1, which is what the parser counts.
_BREAKS = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
# Everything outside YAML's printable set; the parser would name it less kindly.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")


def split_lines(text: str) -> list[str]:
    """The lines as the YAML parser numbers them."""
    return _BREAKS.split(text)


def place_of(text: str, offset: int) -> tuple[int, int]:
    """Line and column, from 1, of a character offset."""
    lines = split_lines(text[:offset])
    return len(lines), len(lines[-1]) + 1


SCENARIO_FILE = "Give the path of a *.chaos.yaml file, or the name of a built-in scenario."


def read_text(path: Path, name: str, *, wanted: str = SCENARIO_FILE) -> str:
    """The text of the file; raises ScenarioErrors if it is unreadable, too large, or not UTF-8 text.

    ``wanted`` says what should have been given, for whoever named a file that does not exist.
    """
    try:
        # A FIFO would block and a device would never end.
        if not stat.S_ISREG(path.stat().st_mode):
            raise _whole(name, "unreadable", "not a regular file", "Give the path of a scenario file.")
        with path.open("rb") as file:
            raw = file.read(SIZE_LIMIT + 1)
    except FileNotFoundError:
        raise _whole(name, "unreadable", "no such file", wanted) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "the path is not usable"
        raise _whole(name, "unreadable", f"cannot be read: {reason}") from None
    return decode(raw, name)


def decode(raw: bytes, name: str) -> str:
    """Bytes to text; a UTF-8 byte order mark is dropped, since Windows editors write it."""
    if len(raw) > SIZE_LIMIT:
        raise _too_large(name)
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise _whole(name, "encoding", "the file is UTF-16", "Save it as UTF-8.")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        before = raw[: error.start].decode("utf-8")
        line, column = place_of(before, len(before))
        message = f"byte 0x{raw[error.start]:02x} is not UTF-8 text"
        raise ScenarioErrors(
            [Problem(name, line, column, "encoding", message, "Save it as UTF-8.")]
        ) from None


def checked(text: str, name: str) -> str:
    """The text without its byte order mark; raises ScenarioErrors for what no YAML file may hold."""
    text = text.removeprefix("\ufeff")
    if len(text) > SIZE_LIMIT or len(text.encode("utf-8", "surrogatepass")) > SIZE_LIMIT:
        raise _too_large(name)
    problems = []
    for found in _FORBIDDEN.finditer(text):
        line, column = place_of(text, found.start())
        message = f"the character U+{ord(found[0]):04X} may not stand in a YAML file"
        hint = "Remove it; inside double quotes write \\x.. or \\u.... instead."
        source = split_lines(text)[line - 1]
        problems.append(Problem(name, line, column, "control-character", message, hint, source))
        if len(problems) == 5:  # a binary file; more of the same helps nobody
            break
    if problems:
        raise ScenarioErrors(problems)
    return text


def _whole(name: str, code: str, message: str, hint: str = "") -> ScenarioErrors:
    return ScenarioErrors([Problem(name, 0, 0, code, message, hint)])


def _too_large(name: str) -> ScenarioErrors:
    limit = f"{SIZE_LIMIT // 1024}KiB"
    return _whole(
        name, "too-large", f"larger than {limit}; a scenario is one short file", "Is it the right file?"
    )
