"""Running a Python package of ours (or anybody's) as a program of its own inside the sandbox."""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from importlib.util import find_spec

from backupchaos.commands import Command
from backupchaos.errors import MissingCapability


def package_root(package: str) -> str:
    """The directory that must be on ``sys.path`` to import ``package``; the package is not imported.

    Raises ``MissingCapability`` when there is no such package.
    """
    spec = find_spec(package)
    places = list(spec.submodule_search_locations or ()) if spec else []
    if not places:
        raise MissingCapability(package, "the Python package cannot be found", f"pip install {package}")
    return os.path.dirname(os.path.abspath(places[0]))


def python_environment(package: str) -> dict[str, str]:
    """What a fresh interpreter needs in its environment to find ``package``.

    Nothing is inherited from the harness, so a package that is not installed (a checkout on PYTHONPATH)
    is named explicitly. The current directory stays off the path: it may be the tree that is backed up.
    """
    root = package_root(package)
    env = {"PYTHONSAFEPATH": "1", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUTF8": "1"}
    if root not in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        env["PYTHONPATH"] = root
    return env


def python_paths(package: str) -> list[str]:
    """Host paths that the interpreter and ``package`` live in, beyond the system's own."""
    wanted = {sys.prefix, sys.base_prefix, package_root(package)}
    return sorted(path for path in wanted if path not in {"/usr", "/usr/local"})


def python_command(
    module: str,
    arguments: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    secrets: Sequence[str] = (),
) -> Command:
    """``python -m module arguments`` with this interpreter; ``env`` is added to what Python itself needs."""
    package = module.partition(".")[0]
    return Command(
        (sys.executable, "-m", module, *arguments),
        {**python_environment(package), **(env or {})},
        secrets=tuple(secret for secret in secrets if secret),
    )
