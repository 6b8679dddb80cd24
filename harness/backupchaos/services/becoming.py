"""Run a program as an ordinary user without any rights: ``python -m backupchaos.services.becoming UID GID PROGRAM ...``.

A server that finds itself root wants to do what only root of a whole machine can: change to other users, go into a
folder below ``/run``. In a user namespace that maps one user, whoever is root here is that user there, may touch the
same files as before, and the program does not even try.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence


def become(user: int, group: int) -> None:
    """Be ``user``; nothing is done for who is not root. Raises OSError where the kernel refuses namespaces."""
    from backupchaos.environments.local import kernel

    uid, gid = os.getuid(), os.getgid()
    if uid != 0 or user == 0:
        return
    kernel.unshare(kernel.CLONE_NEWUSER)
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{user} {uid} 1"),
        ("gid_map", f"{group} {gid} 1"),
    ):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(text)


def main(argv: Sequence[str]) -> int:
    """Become, and be the program; 1 with one line on standard error if that cannot be."""
    user, group, program, *arguments = argv
    try:
        become(int(user), int(group))
        os.execv(program, [program, *arguments])  # noqa: S606 - that is what we are for
    except OSError as error:
        print(f"cannot run {program} as user {user}: {error}", file=sys.stderr)  # noqa: T201
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
