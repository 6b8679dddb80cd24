"""Seeded randomness: one stream per (seed, link, connection, direction, toxic, purpose).

Nothing is shared, so the same seed and the same order of connections on a link give the same
faults there, whatever other links do.
"""

from __future__ import annotations

import hashlib
import random


def stream(  # noqa: PLR0917
    seed: int, link: str, conn: int, direction: str, toxic: str, purpose: str
) -> random.Random:
    """The generator for one purpose."""
    key = f"{seed}/{link}/{conn}/{direction}/{toxic}/{purpose}".encode()
    return random.Random(int.from_bytes(hashlib.blake2b(key, digest_size=8).digest()))
