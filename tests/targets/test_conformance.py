"""The conformance suite on every adapter that comes with the project."""

from __future__ import annotations

from pathlib import Path

import pytest

from backupchaos.targets.base import Target
from backupchaos.targets.conformance import TargetConformance
from backupchaos_targets.borg import BorgTarget
from backupchaos_targets.command import CommandTarget
from backupchaos_targets.rclone import RcloneTarget
from backupchaos_targets.reference import ReferenceTarget
from backupchaos_targets.restic import ResticTarget

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "target.yaml"
pytestmark = pytest.mark.slow


class TestReferenceLocal(TargetConformance):
    def make_target(self) -> Target:
        return ReferenceTarget()


class TestReferenceSftp(TestReferenceLocal):
    kind = "sftp"


class TestRcloneLocal(TargetConformance):
    def make_target(self) -> Target:
        return RcloneTarget()


class TestRcloneSftp(TestRcloneLocal):
    kind = "sftp"


class TestRcloneS3(TestRcloneLocal):
    kind = "s3"
    noise = (
        r"StatusCode: 500, .* InternalError"  # two uploads that make the same folder; its client tries again
    )


class TestRcloneWebdav(TestRcloneLocal):
    kind = "webdav"
    noise = (
        r"423 Locked"  # rclone's server locks a folder while another upload makes it; its client tries again
    )


class TestResticLocal(TargetConformance):
    def make_target(self) -> Target:
        return ResticTarget()


class TestResticRest(TestResticLocal):
    kind = "rest"


class TestResticS3(TestResticLocal):
    kind = "s3"


class TestResticSftp(TestResticLocal):
    kind = "sftp"


class TestBorg(TargetConformance):
    def make_target(self) -> Target:
        return BorgTarget()


class TestCommandExample(TargetConformance):
    """The example of the documentation works as it stands."""

    lists_are_structured = False

    def make_target(self) -> Target:
        return CommandTarget.from_yaml(EXAMPLE)


def test_every_adapter_of_the_project_is_tested_here() -> None:
    tested = {type(suite().make_target()) for suite in TargetConformance.__subclasses__()}
    assert tested == {ReferenceTarget, RcloneTarget, BorgTarget, ResticTarget, CommandTarget}
