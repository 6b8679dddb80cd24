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

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
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
        return CommandTarget.from_yaml(EXAMPLES / "target.yaml")


class TestKopiaExample(TargetConformance):
    """So does that of a real tool."""

    lists_are_structured = False
    check_finds_damage = False  # its verify is content with what the cache has

    def make_target(self) -> Target:
        return CommandTarget.from_yaml(EXAMPLES / "kopia.yaml")


def test_every_adapter_of_the_project_is_tested_here() -> None:
    tested = {type(suite().make_target()) for suite in TargetConformance.__subclasses__()}
    assert tested == {ReferenceTarget, RcloneTarget, BorgTarget, ResticTarget, CommandTarget}
