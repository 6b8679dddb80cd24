"""The plugin on the real engine."""

from __future__ import annotations

import pytest

SMALL = """\
scenario: small
title: Small
source: {files: 10, size: 1MiB, new: 1MiB}
repository: local
expect: {outcome: success}
"""


@pytest.mark.slow
@pytest.mark.needs("namespaces")
def test_a_real_run_passes_and_a_planted_lie_fails(pytester: pytest.Pytester) -> None:
    (pytester.path / "small.chaos.yaml").write_text(SMALL)
    pytester.makepyfile(
        test_it="""
        import pytest
        from backupchaos_targets.reference import ReferenceTarget

        def test_honest(testexecbackupjob):
            run = testexecbackupjob("small.chaos.yaml")
            assert run.outcome == "success"
            assert run.restore.equal

        def test_lie(testexecbackupjob):
            target = ReferenceTarget(misbehave=["truncate_last_file"])
            testexecbackupjob("small.chaos.yaml", target=target)
        """
    )
    result = pytester.runpytest_subprocess("test_it.py", "--tb=short")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*FAIL*reference-truncate_last_file*", "2 runs: 1 pass, 1 fail*"])
