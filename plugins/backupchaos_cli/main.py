"""The command line's entry: arguments, dispatch, exit codes.

Exit codes: 0 pass, 1 fail (of lint: a file with a problem), 2 unverified or invalid (or nothing could be run),
3 internal error, 4 usage.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

PASS, FAIL, UNSURE, INTERNAL, USAGE, INTERRUPTED = 0, 1, 2, 3, 4, 130
_CODES = (
    "exit codes: 0 pass, 1 fail, 2 unverified or invalid or nothing could be run, 3 internal error, 4 usage;\n"
    "'lint' ends with 1 for a file that has a problem, is missing or cannot be read; COMMAND --help tells its own"
)


class _Parser(argparse.ArgumentParser):
    """argparse with our exit code for usage."""

    def error(self, message: str) -> NoReturn:
        """Print usage and message; leave with 4."""
        self.print_usage(sys.stderr)
        self.exit(USAGE, f"{self.prog}: error: {message}\n")


def build_parser() -> argparse.ArgumentParser:
    """All commands; each adds its own arguments."""
    from backupchaos._version import __version__
    from backupchaos_cli import arguments

    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--traceback", action="store_true", help="show the Python traceback of an error")
    parser = _Parser(
        prog="backupchaos",
        description="Run real backup tools under real faults, restore, and say whether they kept their word.",
        epilog=f"{_CODES}\n\nexamples:\n  backupchaos doctor\n  backupchaos list --tag quick\n"
        "  backupchaos run network_loss --target restic\n  backupchaos report .backupchaos/runs --html report.html",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"backupchaos {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=_Parser)
    arguments.add_all(commands, common)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code and never shows a traceback for a user's mistake."""
    try:
        options = build_parser().parse_args(argv)
    except SystemExit as leaving:
        return int(leaving.code or 0)
    from backupchaos.errors import HarnessBroken, MissingCapability, UsageProblem
    from backupchaos_cli.console import Unheard, flush

    try:
        code: int = import_module(f"backupchaos_cli.{options.module}").main(options)
        flush()
        return code
    except BrokenPipeError:
        # The reader went away (head, less); Python must not fail once more when it closes the stream.
        _silence()
        return PASS
    except Unheard as problem:
        _silence()
        return _told(options, problem, UNSURE, f"standard output cannot be written: {problem}")
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return INTERRUPTED
    except UsageProblem as problem:
        return _told(options, problem, USAGE)
    except MissingCapability as problem:
        return _told(options, problem, UNSURE)
    except HarnessBroken as problem:
        return _told(options, problem, INTERNAL)
    except Exception as problem:
        hint = "This is a defect of backupchaos; please report it with --traceback."
        return _told(options, problem, INTERNAL, f"{type(problem).__name__}: {problem}\n{hint}")


def _silence() -> None:
    """What is still to be written goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _told(options: argparse.Namespace, problem: Exception, code: int, text: str = "") -> int:
    if options.traceback:
        import traceback

        traceback.print_exception(problem)
    else:
        sys.stderr.write(f"backupchaos: {text or problem}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
