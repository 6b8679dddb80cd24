"""Hiding volumes for a while: a restore must find neither the source nor yesterday's cache."""

from __future__ import annotations

import os

from backupchaos.environments.local import kernel
from backupchaos.environments.operations.files import force_remove

_ASIDE = ".concealed"
_FLAGS = kernel.MS_NOSUID | kernel.MS_NODEV


def conceal(path: str, *, mounts: bool, writable: bool) -> None:
    """Put an empty directory over a volume: a mount where we may mount, else by renaming it away."""
    if not mounts:
        os.rename(path, path + _ASIDE)
        os.mkdir(path, 0o755)
        return
    found = os.statvfs(path)
    size = found.f_blocks * found.f_frsize if writable else 4096
    flags = _FLAGS | (0 if writable else kernel.MS_RDONLY)
    kernel.mount("backupchaos", path, "tmpfs", flags, f"size={size},mode={755 if writable else 555}")


def reveal(path: str, *, mounts: bool) -> None:
    """The volume is there again; what was written over it meanwhile is gone."""
    if mounts:
        kernel.umount(path)
        return
    force_remove(path)
    os.rename(path + _ASIDE, path)
