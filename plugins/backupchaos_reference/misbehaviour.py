"""Planted misbehaviours: lies and faults that a good checker must find.  All are off unless asked for by name.

``BACKUPCHAOS_REFERENCE_MISBEHAVE=name[,name]`` switches them on for one process.  The honest code asks `on(name)` in
few, marked places (grep for ``misbehaviour.``); whatever is more than a line lives in `planted`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from backupchaos_reference.errors import UsageError

VARIABLE = "BACKUPCHAOS_REFERENCE_MISBEHAVE"


class Misbehaviour(NamedTuple):
    """One planted fault: what it does, and which law of the harness it breaks."""

    name: str
    law: str
    sentence: str


CATALOGUE: dict[str, Misbehaviour] = {
    entry.name: entry
    for entry in (
        Misbehaviour(
            "swallow_enospc", "honest", "Ignores a full disk while storing, ends SUCCESS with exit 0."
        ),
        Misbehaviour(
            "exit_zero_after_giving_up", "loud", "Gives up on the network as it should, but exits 0."
        ),
        Misbehaviour("never_retry", "as_declared", "Fails at the first network or lock error."),
        Misbehaviour("retry_forever", "bounded", "Retries without any maximum."),
        Misbehaviour("retry_without_backoff", "as_declared", "Retries at once, without any delay."),
        Misbehaviour("retry_decreasing_backoff", "as_declared", "Waits less and less between retries."),
        Misbehaviour("retry_permission_errors", "as_declared", "Retries what permission forbids."),
        Misbehaviour("claims_retry_without_trying", "as_declared", "Logs retries that it never makes."),
        Misbehaviour("hang_on_dead_link", "bounded", "Has no time-outs: a silent link stops it for ever."),
        Misbehaviour("ignores_term", "bounded", "Ignores TERM and INT."),
        Misbehaviour(
            "skip_unreadable_silently", "honest", "Leaves out what it cannot read, exit 0, no log record."
        ),
        Misbehaviour(
            "truncate_last_file", "honest", "Stores only the first half of the last file that has content."
        ),
        Misbehaviour("drop_empty_directory", "honest", "Leaves out empty directories."),
        Misbehaviour("drop_mode", "honest", "Stores a fixed mode in place of the real one."),
        Misbehaviour("drop_mtime", "honest", "Stores the current time in place of the modification time."),
        Misbehaviour("drop_xattrs", "honest", "Leaves out extended attributes."),
        Misbehaviour("drop_hard_links", "honest", "Stores hard links as separate files."),
        Misbehaviour("fill_holes", "honest", "Restores sparse files with every hole written as zeros."),
        Misbehaviour("drop_odd_names", "honest", "Leaves out files whose name is not UTF-8."),
        Misbehaviour(
            "stale_content",
            "honest",
            "Takes a file of unchanged size from the previous snapshot without reading it.",
        ),
        Misbehaviour(
            "corrupt_previous_snapshot",
            "no_collateral",
            "Damages data of the previous snapshot while backing up.",
        ),
        Misbehaviour(
            "delete_old_snapshots_on_full_disk",
            "no_collateral",
            "Deletes every older snapshot when the disk is full.",
        ),
        Misbehaviour("manifest_first", "honest", "Publishes the snapshot before its chunks are stored."),
        Misbehaviour(
            "success_before_durable",
            "honest",
            "Records SUCCESS, then uploads the manifest: a kill between lies.",
        ),
        Misbehaviour(
            "leave_temp_files", "clean", "Leaves temporary files in the repository, and never cleans any."
        ),
        Misbehaviour(
            "leave_lock", "recoverable", "A job that fails leaves a lock, and the next job refuses to run."
        ),
        Misbehaviour(
            "leave_child_process", "clean", "Leaves a daemonised, sleeping child process (10 minutes)."
        ),
        Misbehaviour("no_error_log", "loud", "Writes no record of level error."),
        Misbehaviour(
            "names_only_what_it_survived",
            "loud",
            "Tells of the first trouble, which passes, and of no cause of those that follow.",
        ),
        Misbehaviour("no_trace_id", "as_declared", "Writes log records without a trace id."),
        Misbehaviour("no_status_code", "as_declared", "Writes log records without a status code."),
        Misbehaviour(
            "huge_log", "bounded", "Writes 300 MiB of log (BACKUPCHAOS_REFERENCE_HUGE_LOG_MIB changes it)."
        ),
        Misbehaviour("binary_log", "as_declared", "Mixes ANSI codes, NUL and invalid UTF-8 into the log."),
        Misbehaviour(
            "illegal_transition", "as_declared", "Persists PENDING to SUCCESS, and FAILED to SUCCESS."
        ),
        Misbehaviour(
            "wrong_exit_code_on_failure",
            "as_declared",
            "Exits 3 (partial) on a failure that published nothing.",
        ),
        Misbehaviour(
            "claim_success_on_failure", "honest", "Whatever goes wrong, it ends SUCCESS with exit 0."
        ),
        Misbehaviour(
            "delete_old_snapshots_on_failure",
            "no_collateral",
            "Deletes every older snapshot when anything goes wrong.",
        ),
        Misbehaviour("hang_on_failure", "bounded", "Records its failure and then never ends."),
        Misbehaviour("no_fsync", "honest", "Never syncs what it stores: a power cut after SUCCESS takes it."),
        Misbehaviour(
            "ignore_short_writes",
            "honest",
            "Takes a write that stored less than it was given for a whole one.",
        ),
        Misbehaviour(
            "recreate_missing_repository",
            "honest",
            "Makes a new repository where it finds none, also in an empty mount point.",
        ),
        Misbehaviour(
            "stores_torn_file",
            "honest",
            "Opens a file anew when it has read half of it, and does not look whether it is the same.",
        ),
        Misbehaviour(
            "pads_shrunk_file", "honest", "Fills up with zeros what a file has lost while it was read."
        ),
        Misbehaviour(
            "late_metadata", "honest", "Takes the time of a file by name when it has read the content."
        ),
        Misbehaviour(
            "read_error_is_end", "honest", "Takes an error in the middle of a file for the end of it."
        ),
        Misbehaviour(
            "stops_at_vanished_file",
            "honest",
            "Ends the backup, as a success, at the first file that was deleted meanwhile.",
        ),
        Misbehaviour("waits_for_lock", "bounded", "Waits for a lock on every file before it reads it."),
        Misbehaviour("hangs_on_fifo", "bounded", "Opens every FIFO to read it, and waits for a writer."),
        Misbehaviour("follows_link_loop", "honest", "Follows links to directories, round and round."),
        Misbehaviour(
            "ignores_catalog", "honest", "Ends SUCCESS with exit 0 though the catalog was never told."
        ),
        Misbehaviour(
            "catalog_success_first", "honest", "Tells the catalog SUCCESS before anything is stored."
        ),
        Misbehaviour("check_always_ok", "loud", "check finds no damage, whatever there is."),
        Misbehaviour(
            "restore_succeeds_on_damage", "honest", "restore writes zeros for damaged chunks and exits 0."
        ),
    )
}

_active: frozenset[str] = frozenset()


def configure(environ: Mapping[str, str]) -> None:
    """Switch on what `environ` names.  Raises UsageError for an unknown name."""
    global _active  # noqa: PLW0603 - one switchboard per process, set once at the start of a command
    _active = frozenset()
    names = [name.strip() for name in environ.get(VARIABLE, "").split(",") if name.strip()]
    unknown = sorted(set(names) - CATALOGUE.keys())
    if unknown:
        raise UsageError(
            f"{VARIABLE} names unknown misbehaviours: {', '.join(unknown)}; "
            "'backupchaos-reference misbehaviours' lists the known ones"
        )
    _active = frozenset(names)


def on(name: str) -> bool:
    """Whether the planted misbehaviour `name` is switched on (a name outside the catalogue is a KeyError)."""
    return CATALOGUE[name].name in _active
