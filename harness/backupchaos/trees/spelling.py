"""How logs write the name of a file: tools escape, replace and quote what is no plain text, each in its way."""

from __future__ import annotations

import json
import os
import re
import string
from itertools import groupby

from .display import display_path

PLAIN = frozenset(string.ascii_letters + string.digits + " _-./+=,@%~:")
"""What nobody escapes."""
ESCAPED = 20
"""As long may one letter become in a log: ``\\ufffd``, ``\\360\\237\\224\\245``, ``\\\\u0026``."""
RUNS = 6
"""With more stretches of such letters than this the search could take for ever."""
FIRM = 3
"""With fewer letters than this that stay what they are, a name would be any name."""


def spellings(path: str) -> frozenset[str]:
    """The last part of a path as logs write it: plain, with odd bytes escaped in one way or another."""
    name = path.rsplit("/", 1)[-1]
    raw = os.fsencode(name)
    replaced = "".join("\ufffd" if 0xDC80 <= ord(letter) <= 0xDCFF else letter for letter in name)
    found = {
        name,
        display_path(raw),
        raw.decode("utf-8", "backslashreplace"),
        raw.decode("utf-8", "replace"),
        replaced,
        json.dumps(replaced)[1:-1],
        "".join(
            f"\\u{ord(letter):04x}" if letter in "&<>" else letter for letter in json.dumps(replaced)[1:-1]
        ),
        json.dumps(name)[1:-1],
        ascii(name)[1:-1],
        "".join(f"\\{byte:03o}" if byte > 126 or byte < 32 else chr(byte) for byte in raw),
    }
    return frozenset(found)


def pattern(path: str) -> re.Pattern[str]:
    """What a record that names the file matches: the last part of its path in any of the spellings, or the whole
    path, in which letters that need escaping may have become anything short.

    A name within another name is another file's: it may be as short as ``a``.
    """
    found = sorted(map(re.escape, spellings(path)))
    runs = [(plain, len(list(letters))) for plain, letters in groupby(path, PLAIN.__contains__)]
    firm = sum(letter in PLAIN for letter in path.rsplit("/", 1)[-1])
    if sum(not plain for plain, _ in runs) <= RUNS and firm >= FIRM:
        whole, at = "", 0
        for plain, length in runs:
            letters = path[at : at + length]
            whole += re.escape(letters) if plain else f"(?:.{{{length},{ESCAPED * length}}}?)"
            at += length
        found.append(whole)
    return re.compile(rf"(?<![\w.-])(?:{'|'.join(found)})(?![\w-]|\.\w)", re.DOTALL)
