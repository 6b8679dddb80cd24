"""Small things on the harness's side: paths to show, answers that are problems, standard input."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from backupchaos.environments.local.channel import Message
from backupchaos.errors import BackupChaosError, HarnessBroken, MissingCapability, UsageProblem


def locate(paths: Sequence[str]) -> list[tuple[str, str]]:
    """(absolute path, real path) of each; raises ``UsageProblem`` for what does not exist."""
    pairs = []
    for path in paths:
        full = os.path.abspath(path)
        if not os.path.exists(full):
            raise UsageProblem(f"cannot expose {path} to the sandbox: it does not exist")
        real = os.path.realpath(full)
        pairs += [(full, real)] if full == real else [(full, real), (real, real)]
    return pairs


class OperationFailed(HarnessBroken, OSError):
    """An operation met an error of the operating system: ``errno`` says which."""

    def __str__(self) -> str:
        return str(self.strerror)


def problem_of(answer: Message) -> BackupChaosError:
    """The exception that an agent's answer stands for."""
    kind, text = answer["problem"], answer["text"]
    if kind == "UsageProblem":
        return UsageProblem(text)
    if kind == "MissingCapability":
        return MissingCapability(answer.get("capability", "volumes"), text)
    if kind == "OSError":
        return OperationFailed(answer["errno"], text)
    return HarnessBroken(text)


def result_of(answer: Message) -> Any:
    """What an agent's answer holds; raises the exception that it stands for."""
    if "problem" in answer:
        raise problem_of(answer)
    return answer["ok"]


def memory_file(content: bytes) -> int:
    """A descriptor of a nameless file with this content, at its start; the caller closes it."""
    fd = os.memfd_create("stdin")
    with open(fd, "wb", closefd=False) as file:
        file.write(content)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd
