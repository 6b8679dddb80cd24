"""A run without scenarios pays for two small modules."""

from __future__ import annotations

import pytest

HEAVY = (
    "docker testcontainers hypothesis pydantic jinja2 yaml requests toxiproxy asyncssh cryptography "
    "backupchaos backupchaos_reports backupchaos_scenarios backupchaos_targets"
)


def test_nothing_heavy_is_imported(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(
        f"""
        import sys

        def pytest_unconfigure():
            print("HEAVY", [name for name in {HEAVY!r}.split() if name in sys.modules])
            print("OURS", sorted(name for name in sys.modules if name.startswith("pytest_backupchaos")))
        """
    )
    pytester.makepyfile("def test_a(): pass")
    # Other plugins of this environment bring heavy modules of their own.
    result = pytester.runpytest_subprocess("-p", "no:hypothesispytest", "-p", "no:fakefs", "-s")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        [
            "HEAVY []",
            "OURS ['pytest_backupchaos', 'pytest_backupchaos.hookspecs', 'pytest_backupchaos.options', 'pytest_backupchaos.plugin', 'pytest_backupchaos.receiver']",
        ]
    )


def test_it_can_be_switched_off(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_a(): pass")
    (pytester.path / "mine.chaos.yaml").write_text("not even a scenario")
    result = pytester.runpytest_subprocess("-p", "no:backupchaos")
    result.assert_outcomes(passed=1)
    result = pytester.runpytest_subprocess("-p", "no:backupchaos", "--backup-scenario=normal")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
