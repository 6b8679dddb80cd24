"""A directory as a tar stream, for keeping the state of a volume as evidence."""

from __future__ import annotations

import tarfile
from typing import Any

from backupchaos.environments.operations.files import walk


def export_tar(path: str, fd: int) -> dict[str, Any]:
    """Write everything below ``path`` to ``fd`` as an uncompressed PAX archive; names are relative.

    What vanishes or cannot be read meanwhile is left out and named in ``errors``.
    """
    errors: list[str] = []
    count = 0
    with (
        open(fd, "wb", closefd=False) as raw,
        tarfile.open(fileobj=raw, mode="w|", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name, entry in walk(path, errors):
            try:
                archive.add(entry.path, arcname=name, recursive=False)
                count += 1
            except FileNotFoundError:
                errors.append(f"{name}: vanished")
            except PermissionError as problem:
                errors.append(f"{name}: {problem.strerror}")
    return {"entries": count, "errors": errors}
