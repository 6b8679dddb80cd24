"""What of the conformance suite touches a server, over the servers that are not the default ones."""

from __future__ import annotations

import pytest

from backupchaos.targets.base import Target
from backupchaos.targets.conformance import TargetConformance
from backupchaos.targets.conformance_parts import TargetParts
from backupchaos_targets.rclone import RcloneTarget
from backupchaos_targets.reference import ReferenceTarget
from backupchaos_targets.restic import ResticTarget

pytestmark = pytest.mark.slow


class OverServer(TargetParts):
    """The adapter itself is tested over the default servers; here it is the way between the two."""

    test_every_backup_restores = TargetConformance.test_every_backup_restores
    test_log_of_a_good_job = TargetConformance.test_log_of_a_good_job
    test_secrets_stay_out_of_arguments = TargetConformance.test_secrets_stay_out_of_arguments


class WithHistory(OverServer):
    """Of a tool that keeps snapshots, and checks and prunes them."""

    test_prune_keeps_every_snapshot = TargetConformance.test_prune_keeps_every_snapshot


class Damaged:
    """Not for MinIO: it tells 5xx for what it finds damaged, and its clients try again for most of a minute."""

    test_check_tells_whole_from_damaged = TargetConformance.test_check_tells_whole_from_damaged


@pytest.mark.needs("sshd")
class TestReferenceOpenssh(OverServer):
    kind = "sftp"
    service = "openssh"

    def make_target(self) -> Target:
        return ReferenceTarget()


@pytest.mark.needs("sshd", "rclone")
class TestRcloneOpenssh(OverServer):
    kind = "sftp"
    service = "openssh"

    def make_target(self) -> Target:
        return RcloneTarget()


@pytest.mark.needs("minio", "rclone")
class TestRcloneMinio(OverServer):
    kind = "s3"
    service = "minio"

    def make_target(self) -> Target:
        return RcloneTarget()


@pytest.mark.needs("sshd", "restic", "ssh")
class TestResticOpenssh(WithHistory):
    kind = "sftp"
    service = "openssh"

    def make_target(self) -> Target:
        return ResticTarget()


@pytest.mark.needs("minio", "restic")
class TestResticMinio(WithHistory):
    kind = "s3"
    service = "minio"

    def make_target(self) -> Target:
        return ResticTarget()


@pytest.mark.needs("rest-server", "restic")
class TestResticRestServer(Damaged, WithHistory):
    kind = "rest"
    service = "rest-server"

    def make_target(self) -> Target:
        return ResticTarget()
