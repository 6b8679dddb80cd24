"""What it may mean that a job did not meet a fault, and what to do about it: one sentence for every kind."""

from __future__ import annotations

from collections.abc import Mapping

_LINK = (
    "the job sent or received nothing over the link while the fault lasted: give it more new data, start earlier, "
    "or let it last longer"
)
_SERVER = "the server was asked for nothing meanwhile: start earlier, or let it last longer"
_STORED = "no check, restore or job read what was damaged: hit more files ('files', 'pick'), or ask for a deeper check"
_LIMIT = "the job stayed below the limit: lower it"
_VOLUME = "the job did not use that volume meanwhile: start earlier, or choose another place"
_FILE = (
    "the job did not read that file after the fault had come: its data may be read before, or through another "
    "process that the sandbox does not watch"
)
ADVICE: Mapping[str, str] = {
    "network.": _LINK,
    "network.corrupt": "no connection carried 36 KiB to the repository: give the job more new data",
    "network.slow": "the link carried less than that in any case: lower 'rate', or see that more passes meanwhile",
    "network.cut_after": "no connection sent as much meanwhile: lower 'size', or give the job more new data",
    "network.slice": "nothing larger than that passed meanwhile: lower 'size', or see that more passes meanwhile",
    "dns.": "the job asked for no name meanwhile: it may keep its connection, so start earlier or last longer",
    "disk.": _VOLUME,
    "disk.full": "no write needed more than was free: lower 'headroom', or give the job more new data",
    "disk.nearly_full": "so much was left that it was never scarce: leave less, or give the job more new data",
    "disk.inodes": "the job made no file there meanwhile: lower 'left', or start earlier",
    "disk.quota": "no file became that large: lower 'size', or give the job more new data",
    "disk.io_error": "the job made no such call there meanwhile: look at 'path', 'call' and 'nth', or start earlier",
    "disk.short_write": "no write there was as long: lower 'size' or 'nth', or start earlier",
    "disk.lost_fsync": "the job synced nothing there: a tool that never syncs cannot be lied to",
    "disk.vanishes": "a job that holds its directories open goes on working on the volume: let it vanish at the start",
    "power.": "nothing was lost that the job had written: cut earlier, or give it more new data",
    "file.": _FILE,
    "permission.": "the job did not open what is denied meanwhile, or it may do so by another right",
    "process.": "the job did not live long enough for it: start earlier, or give it more new data",
    "process.kill": "the job did not live long enough for it, or it ignores that signal: start earlier, or choose another one",
    "process.oom": _LIMIT,
    "process.fds": _LIMIT,
    "process.pids": _LIMIT,
    "process.cpu": "the job never had to wait for the processor: lower 'share', or give it more new data",
    "process.concurrent": "the two were never in the repository at the same time: start earlier",
    "clock.": "the job read no clock meanwhile: start earlier",
    "repository.": _STORED,
    "repository.stale_lock": "the job did not look at the lock: the tool may have no lock of that kind",
    "repository.wrong_password": "the job never came to the repository with the password",
    "cache.": "the job did not open its cache: it may keep it elsewhere",
    "service.": _SERVER,
    "version.": "the other program was not started",
    "config.": "the job was not started with it",
}
"""By kind, or by the beginning of one; the longest that fits counts."""


def advice(kind: str) -> str:
    """The sentence for a kind of fault."""
    fitting = [prefix for prefix in ADVICE if kind.startswith(prefix)]
    return ADVICE[max(fitting, key=len)] if fitting else "start it earlier, or let it last longer"
