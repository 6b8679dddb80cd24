"""The command line: ``python -m backupchaos_reference`` or ``backupchaos-reference``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence

from backupchaos_reference import misbehaviour
from backupchaos_reference.errors import EngineError, UsageError
from backupchaos_reference.log import Log
from backupchaos_reference.settings import PREFIX, Settings, seconds, truth, variable
from backupchaos_reference.signals import SignalGuard, TerminatedError

_EPILOG = f"""\
environment:
  {PREFIX}PASSWORD            the repository's password (required)
  {PREFIX}SFTP_PASSWORD       the password of the SFTP login
  {PREFIX}SFTP_KEY            the file of a private key for the SFTP login
  {PREFIX}SFTP_HOST_KEY       the server's public key line; only this key is accepted
  {PREFIX}INSECURE_HOST_KEY   1 accepts any host key
  {PREFIX}CATALOG_PASSWORD    the password of the catalog's account
  {PREFIX}REPO, _STATE, _CATALOG, _RETRIES, _RETRY_BASE, _RETRY_CAP, _LOCK_RETRIES, _TIMEOUT
                                        defaults of the options of that name
  {PREFIX}CHUNK_SIZE, _SCRYPT_N   for init: bytes per chunk (at most 1 MiB), cost of the key;
                                        for backup: another chunk size in this job alone
  {misbehaviour.VARIABLE}           planted misbehaviours, see 'misbehaviours'

exit codes:
  0      success
  1      failure; nothing was published, the log says why
  2      usage
  128+n  ended by signal n; nothing was published
  There is no partial success: a snapshot is whole, or it does not exist.

log: JSON lines on stderr, one object a line.
status codes: 100 start, 102 running, 103 retrying, 200 success, 400 usage, 403 permission, 404 missing,
  409 source kept changing, 422 integrity, 423 locked, 499 signal, 500 other, 503 network, 507 disk full
"""


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError("must be at least 1")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise ValueError("must not be negative")
    return value


def _parser(environ: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="backupchaos-reference",
        description="A small, honest backup engine: the reference target of backupchaos.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def knob(name: str, default: str) -> str:
        return variable(environ, name, default)

    common = argparse.ArgumentParser(add_help=False)
    repository = knob("REPO", "")
    common.add_argument(
        "--repo", default=repository or None, required=not repository, metavar="URL",
        help="local path or sftp://user@host:port/absolute/path",
    )  # fmt: skip
    common.add_argument("--retries", type=_count, default=knob("RETRIES", "6"), metavar="N",
                        help="network retries of one operation (default %(default)s)")  # fmt: skip
    common.add_argument("--retry-base", type=seconds, default=knob("RETRY_BASE", "0.25s"), metavar="SECONDS",
                        help="wait before the first retry, doubled each time (default %(default)s)")  # fmt: skip
    common.add_argument("--lock-retries", type=_count, default=knob("LOCK_RETRIES", "3"), metavar="N",
                        help="retries of a locked or changing source file (default %(default)s)")  # fmt: skip
    common.add_argument("--timeout", type=seconds, default=knob("TIMEOUT", "10s"), metavar="SECONDS",
                        help="limit of each network operation (default %(default)s)")  # fmt: skip
    common.add_argument("--insecure-host-key", action="store_true", default=truth(knob("INSECURE_HOST_KEY", "")),
                        help="accept any SFTP host key")  # fmt: skip
    state = argparse.ArgumentParser(add_help=False)
    database = knob("STATE", "")
    state.add_argument("--state", default=database or None, required=not database, metavar="DB",
                       help="SQLite database of jobs and their transitions")  # fmt: skip

    commands.add_parser("init", parents=[common], help="make an empty repository")
    backup = commands.add_parser("backup", parents=[common, state], help="back up a directory")
    backup.add_argument("--source", required=True, metavar="DIR", help="'-' for standard input")
    backup.add_argument(
        "--must-end",
        default="",
        metavar="TEXT",
        help="fail unless the last line of standard input ends with this",
    )
    backup.add_argument(
        "--catalog",
        default=knob("CATALOG", ""),
        metavar="URL",
        help="redis://user@host:port/number of a database that must be told of the job",
    )
    backup.add_argument("--json", action="store_true", help="print the result as JSON")
    snapshots = commands.add_parser("snapshots", parents=[common], help="list snapshots, oldest first")
    snapshots.add_argument("--json", action="store_true")
    restore = commands.add_parser("restore", parents=[common], help="restore a snapshot into a new directory")
    restore.add_argument("snapshot", metavar="SNAPSHOT|latest")
    restore.add_argument("--target", required=True, metavar="DIR")
    check = commands.add_parser("check", parents=[common], help="check that every snapshot is whole")
    check.add_argument("--read-data", action="store_true", help="read and verify every chunk")
    status = commands.add_parser("status", parents=[state], help="show jobs and their transitions")
    status.add_argument("--repo", help=argparse.SUPPRESS)
    status.add_argument("--json", action="store_true")
    prune = commands.add_parser("prune", parents=[common], help="remove old snapshots and unneeded chunks")
    prune.add_argument(
        "--keep-last", type=_positive, metavar="N", help="remove older snapshots (default: keep all)"
    )
    prune.add_argument("--grace", type=seconds, default="24h", metavar="SECONDS",
                       help="spare younger chunks, for jobs that run meanwhile (default %(default)s)")  # fmt: skip
    commands.add_parser("unlock", parents=[common], help="remove a lock (an honest job takes none)")
    listing = commands.add_parser("misbehaviours", help="list the planted misbehaviours")
    listing.add_argument("--json", action="store_true")
    return parser


def _settings(options: argparse.Namespace, environ: Mapping[str, str]) -> Settings:
    password = variable(environ, "PASSWORD", "")
    if not password:
        raise UsageError(f"set {PREFIX}PASSWORD to the repository's password")
    try:
        given = variable(environ, "CHUNK_SIZE", "")
        chunk_size = int(given) if given else None
        scrypt_n = int(variable(environ, "SCRYPT_N", str(1 << 14)))
        cap = seconds(variable(environ, "RETRY_CAP", "8s"))
    except ValueError as error:
        raise UsageError(f"{PREFIX}CHUNK_SIZE, _SCRYPT_N and _RETRY_CAP: {error}") from None
    if chunk_size is not None and not 4096 <= chunk_size <= 1 << 20:
        raise UsageError(f"{PREFIX}CHUNK_SIZE must lie between 4096 and 1048576, not {chunk_size}")
    if scrypt_n < 1 << 10 or scrypt_n > 1 << 20 or scrypt_n & (scrypt_n - 1):
        raise UsageError(f"{PREFIX}SCRYPT_N must be a power of two between 1024 and 1048576, not {scrypt_n}")
    if options.timeout <= 0:
        raise UsageError("--timeout must be more than 0")
    return Settings(
        retries=options.retries,
        retry_base=options.retry_base,
        retry_cap=cap,
        lock_retries=options.lock_retries,
        timeout=options.timeout,
        password=password,
        sftp_password=environ.get(f"{PREFIX}SFTP_PASSWORD"),
        sftp_key=variable(environ, "SFTP_KEY", "") or None,
        sftp_host_key=variable(environ, "SFTP_HOST_KEY", "") or None,
        insecure_host_key=options.insecure_host_key,
        catalog_password=variable(environ, "CATALOG_PASSWORD", ""),
        chunk_size=chunk_size,
        scrypt_n=scrypt_n,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; errors become log records, never a traceback."""
    environ = os.environ
    try:
        options = _parser(environ).parse_args(argv)
    except SystemExit as stop:
        return int(stop.code or 0)
    log = Log(options.command)
    guard = SignalGuard()
    try:
        misbehaviour.configure(environ)
        with guard.installed():
            return _run(options, environ, log, guard)
    except UsageError as error:
        log.failure(error)
        return 2
    except EngineError as error:
        log.failure(error)
        return 1
    except TerminatedError as stop:
        log.record("error", "error", stop.message, 499)
        return 128 + stop.number
    except BrokenPipeError:
        return 1
    except Exception as error:
        log.record("error", "error", f"internal error: {type(error).__name__}: {error}", 500)
        return 1
    finally:
        misbehaviour.configure({})


def _run(options: argparse.Namespace, environ: Mapping[str, str], log: Log, guard: SignalGuard) -> int:
    if options.command == "misbehaviours":
        from backupchaos_reference.commands_plain import list_misbehaviours

        return list_misbehaviours(options)
    if options.command == "status":
        from backupchaos_reference.commands_plain import status

        return status(options)
    settings = _settings(options, environ)
    if options.command == "backup":
        from backupchaos_reference.command_backup import run_backup

        return run_backup(options, settings, log, guard)
    from backupchaos_reference import commands

    run: Callable[[argparse.Namespace, Settings, Log, SignalGuard], int] = commands.WITH_REPOSITORY[
        options.command
    ]
    return run(options, settings, log, guard)


if __name__ == "__main__":
    sys.exit(main())
