"""What clients are told of a fault of the server's disk where the server does not tell its cause."""

from __future__ import annotations

FULL = ("disk.full", "disk.nearly_full", "disk.inodes")
DISK = (*FULL, "disk.readonly", "disk.io_error", "disk.vanishes")
"""Kinds of fault that the server meets in the client's stead, if the disk is the repository's."""


def status(*codes: int) -> str:
    """A pattern of how clients write an HTTP status: a number alone may count anything."""
    return rf"(status|http|code|response|unexpected|error)\D{{0,20}}({'|'.join(map(str, codes))})\b"
