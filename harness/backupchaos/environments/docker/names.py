"""Labels, names and images: everything of ours on a Docker daemon can be told from everything else."""

from __future__ import annotations

import os
import socket
from pathlib import Path

LABEL = "org.backupchaos"
RUN = f"{LABEL}.run"
"""Which sandbox an object belongs to."""
OWNER = f"{LABEL}.owner"
"""Who made it: host, boot, pid and start time of the harness, so that a dead owner is known as dead."""
AGENT_IMAGE = "backupchaos/agent:1"
PYTHON_IMAGE = "backupchaos/python:1"
"""Python with backupchaos and what its reference job and its servers need."""
TOXIPROXY_IMAGE = "ghcr.io/shopify/toxiproxy:2.12.0"
TOXIPROXY_PROGRAM = "toxiproxy-server"
PACKAGES = "/usr/local/lib/backupchaos-packages"
"""Where that image has the packages."""
FOLDER = "backupchaos-docker-"
"""How folders with the sockets of a sandbox begin."""
RUNTIME = "/.backupchaos"
"""Where every container of a sandbox finds the agent's own Python; the image needs none."""

ISOLATED = {"com.docker.network.bridge.inhibit_ipv4": "true"}
"""The bridge gets no address: an internal network has no way to the world, and so it has none to this machine."""


def owner(pid: int | None = None) -> str:
    """This process, for the label: ``host/boot/pid/start``."""
    pid = pid or os.getpid()
    return f"{socket.gethostname()}/{boot()}/{pid}/{_started(pid)}"


def folder_prefix() -> str:
    """How the folders of this process begin, below the temporary one: whose they are must be known from the start."""
    pid = os.getpid()
    return f"{FOLDER}{pid}-{_started(pid)}-"


def is_dead_folder(name: str) -> bool:
    """Whether a folder of that name was made by a process that is gone."""
    parts = name.removeprefix(FOLDER).split("-")
    if not name.startswith(FOLDER) or len(parts) != 3 or not parts[0].isdigit():
        return False
    return not parts[1] or _started(int(parts[0])) != parts[1]


def boot() -> str:
    """The boot of this machine's kernel; empty where the kernel does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _started(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def is_dead(label: str) -> bool | None:
    """Whether an object's owner is gone; None when that cannot be known from here (another machine)."""
    parts = label.split("/")
    if len(parts) != 4 or parts[0] != socket.gethostname():
        return None
    if parts[1] != boot():
        return True
    return not parts[3] or _started(int(parts[2])) != parts[3]
