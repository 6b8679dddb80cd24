"""Passing runs of a large campaign, compressed: blocks of Base64 that the page opens on demand."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Iterable, Iterator

BLOCK = 20
"""Fragments per block: fewer cost size, more cost time when one is opened."""


def blocks(fragments: Iterable[str]) -> Iterator[str]:
    """Base64 of gzip, ``BLOCK`` fragments at a time; the same input gives the same output."""
    held: list[str] = []
    for fragment in fragments:
        held.append(fragment)
        if len(held) == BLOCK:
            yield pack("".join(held))
            held.clear()
    if held:
        yield pack("".join(held))


def pack(text: str) -> str:
    """One block. The modification time is left at 0, so that nothing depends on when it was made."""
    return base64.b64encode(gzip.compress(text.encode(), 9, mtime=0)).decode("ascii")


def unpack(block: str) -> str:
    """The inverse of ``pack``, as the page's script does it."""
    return gzip.decompress(base64.b64decode(block)).decode()
