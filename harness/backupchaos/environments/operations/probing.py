"""Really trying what a sandbox promises; used by ``LocalEnvironment.probe`` on a throw-away sandbox."""

from __future__ import annotations

import errno
import os
import socket


def probe_files(volume: str, size: int) -> dict[str, str]:
    """Fill a volume of ``size`` bytes, try to write to the host: reasons by capability."""
    return {"volumes": _fill(volume, size), "readonly": _write_host()}


def probe_attributes(volume: str) -> dict[str, str]:
    """Whether files on a volume take user attributes."""
    return {"xattrs": _attribute(volume)}


def _fill(volume: str, size: int) -> str:
    path = os.path.join(volume, "probe-fill")
    written = 0
    try:
        with open(path, "wb", buffering=0) as file:
            while written <= size:
                written += file.write(bytes(65536))
    except OSError as problem:
        return (
            "" if problem.errno == errno.ENOSPC else f"filling a volume gave {problem.strerror}, not ENOSPC"
        )
    finally:
        os.unlink(path)
    return f"a volume of {size} bytes took {written}"


def _attribute(volume: str) -> str:
    path = os.path.join(volume, "probe-xattr")
    with open(path, "wb"):
        pass
    try:
        os.setxattr(path, "user.backupchaos", b"1")
        return "" if os.getxattr(path, "user.backupchaos") == b"1" else "an attribute changed"
    except OSError as problem:
        return f"volumes take no user attributes here ({problem.strerror}; tmpfs has them from Linux 6.6)"
    finally:
        os.unlink(path)


def _write_host() -> str:
    for place in ("/usr", "/etc", "/var", "/home", os.path.expanduser("~root")):
        path = os.path.join(place, ".backupchaos-probe")
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except OSError:
            continue
        os.unlink(path)
        return f"{place} of the host is writable"
    return ""


def probe_network() -> dict[str, str]:
    """Loopback works, and there is nothing but loopback."""
    names = [name for _, name in socket.if_nameindex() if name != "lo"]
    routed = []
    with open("/proc/self/net/route", encoding="ascii") as file:
        routed = [line for line in file.read().splitlines()[1:] if not line.startswith("lo")]
    if routed:
        return {"network": f"the sandbox has a route to the outside by {', '.join(names)}"}
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname(), 2):
        return {"network": ""}


def probe_syscalls() -> dict[str, str]:
    """Whether the supervisor can work: see ``backupchaos.syscalls.probe``."""
    from backupchaos.syscalls.probe import try_all

    return try_all()
