"""A producer for jobs that store their standard input: what ``pg_dump | tool`` has on its left side.

It prints every regular file of the source, sorted by name, and a last line by which an end can be told from a
death, as the dumps of databases do ("-- PostgreSQL database dump complete"). The same source gives the same bytes.
"""

from __future__ import annotations

import sys

from backupchaos.commands import Command
from backupchaos.targets.base import Workspace

LAST_LINE = "-- dump complete"
_CODE = """
import os, shutil, sys
root, last = map(os.fsencode, sys.argv[1:3])
out = sys.stdout.buffer
for folder, folders, names in os.walk(root):
    folders.sort()
    for name in sorted(names):
        path = os.path.join(folder, name)
        if os.path.isfile(path) and not os.path.islink(path):
            out.write(b"-- file " + os.path.relpath(path, root) + b"\\n")
            with open(path, "rb") as file:
                shutil.copyfileobj(file, out)
            out.write(b"\\n")
out.write(last + b"\\n")
out.flush()
"""


def dump(work: Workspace) -> Command:
    """The producer for this run's source."""
    return Command((sys.executable, "-S", "-c", _CODE, work.source, LAST_LINE))
