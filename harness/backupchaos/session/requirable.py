"""The words that ``--require`` and ``--backup-require`` take: every name that a missing capability can bear.

A misspelt one would require nothing, and what it was to protect would be skipped as if nobody had asked.
"""

from __future__ import annotations

from collections.abc import Iterable

from backupchaos.errors import UsageProblem
from backupchaos.targets.base import Target

OF_THE_SANDBOX = (
    "clock",
    "image",
    "killable",
    "namespaces",
    "network",
    "permissions",
    "pidfd",
    "processes",
    "readonly",
    "short_writes",
    "syscalls",
    "volumes",
    "xattrs",
)
OF_THE_MACHINE = (
    "UNIX sockets",
    "access times",
    "allow",
    "cgroup cpu",
    "cgroup memory",
    "cgroup pids",
    "docker",
    "file modes",
    "helper process",
    "hostname",
    "memory",
    "ordinary user",
    "outside network",
    "outlet",
    "packet filters",
    "second file",
    "setpriv",
    "space",
    "special files",
    "toxiproxy-server",
)
OF_SERVERS = (
    "durable server",
    "fair server",
    "http repository",
    "link",
    "link events",
    "local",
    "mariadb",
    "minio",
    "obedient server",
    "openssh",
    "postgres",
    "rclone",
    "redis",
    "remote repository",
    "rest",
    "rest-server",
    "s3",
    "services",
    "sftp",
    "webdav",
)
OF_TARGETS = (
    "another version",
    "backup",
    "backupchaos",
    "backupchaos_reference",
    "borg",
    "cache",
    "changed files",
    "check",
    "list",
    "lock",
    "password",
    "prune",
    "reference",
    "repository",
    "restic",
    "source",
    "standard input",
    "target",
    "temp",
    "unlock",
)


def known_capabilities(targets: Iterable[Target | str] = ()) -> tuple[str, ...]:
    """Every word that may be required, ``all`` included.

    ``targets`` are those selected: a target that comes from a file or a package of its own brings its name, and the
    words of its ``capabilities``, if it has such.
    """
    from backupchaos.services.registry import service_names
    from backupchaos.session.settings import EVERYTHING
    from backupchaos.targets.registry import target_names

    words = {EVERYTHING, *OF_THE_SANDBOX, *OF_THE_MACHINE, *OF_SERVERS, *OF_TARGETS}
    words.update(target_names(), service_names())
    for target in targets:
        words.update(
            (target,) if isinstance(target, str) else (target.name, *getattr(target, "capabilities", ()))
        )
    return tuple(sorted(words))


def check_capabilities(words: Iterable[str], option: str, targets: Iterable[Target | str] = ()) -> None:
    """Raise ``UsageProblem`` for a word that no missing capability bears; ``option`` is what the user wrote."""
    from backupchaos.model.words import choices, shown

    known = known_capabilities(targets)
    for word in words:
        if word not in known:
            raise UsageProblem(
                f"{option}: there is no capability {shown(word)}. {choices(word, known, 'Known')}"
            )
