"""What a sandbox shows, what it hides, what it keeps from being written."""

from __future__ import annotations

import errno
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from backupchaos.commands import Command
from backupchaos.environments.base import Environment, Place, Sandbox
from backupchaos.environments.local.environment import LocalEnvironment
from backupchaos.errors import MissingCapability, UsageProblem

from .conftest import Box

pytestmark = pytest.mark.needs("namespaces")
SIZE = 1 << 20


def test_nothing_of_the_host_can_be_written(box: Box, tmp_path: Path) -> None:
    script = r"""
for d in / /* /usr/* /var/* /home/* /etc/* "$1"; do
  [ -d "$d" ] || continue
  case "$d" in /tmp|/run|/backupchaos|/var/tmp|/proc|/var/run|/var/lock) continue;; esac
  (: > "$d/.backupchaos-test") 2>/dev/null && echo "wrote $d"
done
for f in /proc/sys/vm/swappiness /proc/sysrq-trigger /etc/hostname /etc/passwd; do
  [ -e $f ] && { (: >> $f) 2>/dev/null && echo "opened $f"; }
done
[ -b /dev/vda ] || ls -l /dev | grep ^b
mount -o remount,rw / 2>/dev/null && echo remounted
mount -t tmpfs none /tmp 2>/dev/null && echo mounted
umount /backupchaos/.host 2>/dev/null && echo uncovered
mknod $TMPDIR/disk b 254 0 2>/dev/null && dd if=/dev/zero of=$TMPDIR/disk count=0 2>/dev/null && echo disk
true
"""
    result = box.run("/bin/sh", "-c", script, "sh", str(tmp_path))
    assert (result.output, result.returncode) == ("", 0)
    assert not list(tmp_path.iterdir())


def test_a_nested_user_namespace_gains_nothing(box: Box) -> None:
    result = box.run(
        "unshare -Urm sh -c 'mount -o remount,rw,bind /usr && echo writable; : > /usr/x && echo wrote'; true"
    )
    assert "writable" not in result.output
    assert "wrote" not in result.output


def test_temporary_files_of_the_host_are_hidden(make_box: Callable[..., Box], tmp_path: Path) -> None:
    secret, shown = tmp_path / "secret", tmp_path / "shown"
    secret.write_text("s")
    shown.write_text("visible")
    box = make_box(expose=[str(shown)])
    assert box.run(f"cat {shown}").output == "visible"
    assert box.run(f"cat {secret}").returncode != 0
    assert box.run(f"echo x > {shown}").returncode != 0
    box.sandbox.expose([str(secret)])
    assert box.run(f"cat {secret}").output == "s"
    assert box.run(f"echo x > {secret}; rm -f {secret}; ls {secret}").output.endswith(f"{secret}\n")
    with pytest.raises(UsageProblem, match="does not exist"):
        box.sandbox.expose([str(tmp_path / "nonesuch")])


def test_the_current_directory_and_the_interpreter_stay_visible(
    make_box: Callable[..., Box], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").write_text("yes")
    monkeypatch.chdir(tmp_path)
    box = make_box()
    assert box.run(f"cat {tmp_path}/here").output == "yes"
    assert box.run(sys.executable, "-c", "import backupchaos, pytest; print('ok')").output == "ok\n"


def test_packages_that_a_path_file_leads_to_stay_visible(
    make_box: Callable[..., Box], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages/far_away.py").write_text("where = 'here'")
    (tmp_path / "beside").write_text("hidden")
    monkeypatch.syspath_prepend(str(tmp_path / "packages"))
    box = make_box()
    assert box.run(f"cat {tmp_path}/packages/far_away.py").output == "where = 'here'"
    assert box.run(f"cat {tmp_path}/beside").returncode != 0


def test_environment_is_complete_and_nothing_else(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEAK", "1")
    lines = dict(
        line.split("=", 1) for line in box.run("/usr/bin/env", "--", "/usr/bin/env").output.splitlines()
    )
    assert lines.pop("BACKUPCHAOS_ROLE").startswith("target:")
    state, cache = box.path(Place.STATE), box.path(Place.CACHE)
    assert (lines["HOME"], lines["TMPDIR"], lines["XDG_CACHE_HOME"]) == (state, box.path(Place.TEMP), cache)
    assert lines["XDG_CONFIG_HOME"].startswith(state)
    assert lines["LANG"] == "C.UTF-8"
    assert lines["PATH"] == os.environ["PATH"]
    assert "LEAK" not in lines
    result = box.run("/bin/sh", "-c", "umask; pwd; hostname; echo $HOME; touch $HOME/a $TMPDIR/b $XDG_CACHE_HOME/c /tmp/d /dev/shm/e",
                     env={"HOME": "/tmp"})  # fmt: skip
    assert (result.output, result.returncode) == (f"0022\n{state}\nbackupchaos\n/tmp\n", 0)


def test_descriptors_are_only_those_handed_over(box: Box) -> None:
    marker = os.memfd_create("handed")
    os.write(marker, b"by number")
    os.lseek(marker, 0, os.SEEK_SET)
    try:
        result = box.run("/bin/sh", "-c", "cat <&7; ls /proc/$$/fd", pass_fds=[(marker, 7)])
    finally:
        os.close(marker)
    assert result.output.split() == ["by", "number0", "1", "2", "7"] or result.output.split()[1:] == [
        "number0", "1", "10", "2", "7",
    ]  # fmt: skip


def test_stdin_is_empty_or_what_the_command_says(box: Box) -> None:
    assert box.run("cat; readlink /proc/self/fd/0").output == "/dev/null\n"
    data = b"x" * 300_000
    read, write = os.pipe()
    pid = box.sandbox.spawn(Command(("wc", "-c"), stdin=data), role="tool", stdout=write)
    os.close(write)
    with open(read) as pipe:
        assert pipe.read().strip() == "300000"
    assert box.code(pid) == 0


def test_volume_is_full_exactly_at_its_size(box: Box) -> None:
    repository = box.path(Place.REPOSITORY)
    result = box.run(
        f"dd if=/dev/zero of={repository}/big bs=64k; stat -c %s {repository}/big; echo x > {repository}/b"
    )
    assert "No space left on device" in result.output
    assert str(SIZE) in result.output.split()
    usage = box.sandbox.usage(Place.REPOSITORY)
    assert (usage.total, usage.free, usage.used) == (SIZE, 0, SIZE)


def test_volume_shrinks_and_grows_while_a_writer_is_at_work(box: Box) -> None:
    repository = box.path(Place.REPOSITORY)
    script = f"""
import os, sys
f = open("{repository}/f", "wb", buffering=0)
f.write(bytes(262144)); print("ready", flush=True)
for line in sys.stdin:
    try: f.write(bytes(65536)); print("written", flush=True)
    except OSError as e: print(e.errno, flush=True)
"""
    commands, feed = os.pipe()
    pid, read = box.start(sys.executable, "-IS", "-c", script, stdin=commands)
    assert box.line(read) == "ready"
    box.sandbox.resize(Place.REPOSITORY, 0)
    usage = box.sandbox.usage(Place.REPOSITORY)
    assert usage.used == 262144
    assert usage.free == 0
    os.write(feed, b"\n")
    assert box.line(read) == str(errno.ENOSPC)
    box.sandbox.resize(Place.REPOSITORY, SIZE)
    os.write(feed, b"\n")
    assert box.line(read) == "written"
    for fd in (feed, commands, read):
        os.close(fd)
    assert box.code(pid) == 0


def test_network_is_loopback_alone_and_reachable(box: Box) -> None:
    listing = box.run("cat /proc/net/dev | tail -n +3 | cut -d: -f1; cat /proc/net/route | tail -n +2")
    assert listing.output.split() == ["lo"]
    with socket.create_server(("127.0.0.1", 0)) as host, pytest.raises(ConnectionRefusedError):
        box.sandbox.connect(host.getsockname()[1])
    script = "import socket; s=socket.create_server(('127.0.0.1',0)); print(s.getsockname()[1],flush=True); s.accept()[0].sendall(b'hi')"
    _, read = box.start(sys.executable, "-IS", "-c", script)
    port = int(box.line(read))
    with box.sandbox.connect(port) as sock:
        assert sock.recv(10) == b"hi"
    os.close(read)


def test_connect_times_out_instead_of_hanging(box: Box) -> None:
    script = "import socket; s=socket.socket(); s.bind(('127.0.0.1',0)); s.listen(0); print(s.getsockname()[1],flush=True); input()"
    stay, feed = os.pipe()
    _, read = box.start(sys.executable, "-IS", "-c", script, stdin=stay)
    port = int(box.line(read))
    held = [box.sandbox.connect(port)]
    with pytest.raises(TimeoutError):
        for _ in range(5):
            held.append(box.sandbox.connect(port, timeout=0.2))
    for sock in held:
        sock.close()
    for fd in (stay, feed, read):
        os.close(fd)


def test_permissions_bite_only_without_dac_override(box: Box) -> None:
    source = box.path()
    script = f"echo s > {source}/f; chmod 0 {source}/f; cat {source}/f"
    assert box.run(script).output == "s\n"
    refused = box.run(f"cat {source}/f", drop_dac=True)
    assert "Permission denied" in refused.output
    assert refused.returncode != 0
    assert "000000000000" in box.run("grep CapInh /proc/self/status").output


def test_run_as_another_user(box: Box) -> None:
    source = box.path()
    result = box.run(
        f"id -u; touch {source}/mine; stat -c %u {source}/mine; grep CapEff /proc/self/status", user=1000
    )
    assert result.output.split() == ["1000", "1000", "CapEff:", "0000000000000000"]
    assert box.sandbox.call("stat", path=f"{source}/mine")["uid"] == 0


def test_resource_limits(box: Box) -> None:
    assert box.run("ulimit -n", rlimits={"nofile": 17}).output == "17\n"
    with pytest.raises(UsageProblem, match="unknown resource limit 'nofiles'"):
        box.run("true", rlimits={"nofiles": 17})


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("no-such-program",), "not found on PATH"),
        (("/no/such/file",), "no such file"),
        (("/tmp/hidden-program",), "hidden from the sandbox"),
        (("/usr",), "it is a directory"),
        (("{source}/plain",), "not executable; chmod"),
        (("{source}/shebang",), "interpreter or loader"),
        (("{source}/noformat",), "without a #! line"),
    ],
)
def test_a_program_that_cannot_run_is_a_clear_problem(box: Box, argv: tuple[str, ...], message: str) -> None:
    source = box.path()
    for name, text, mode in (
        ("plain", "#!/bin/sh\n", 0o644),
        ("shebang", "#!/no/such/interpreter\n", 0o755),
        ("noformat", "hello\n", 0o755),
    ):
        box.sandbox.call("write_file", path=f"{source}/{name}", text=text, mode=mode)
    with pytest.raises(UsageProblem, match=message):
        box.sandbox.spawn(Command(tuple(a.format(source=source) for a in argv)), role="target")
    with pytest.raises(UsageProblem, match="working directory"):
        box.sandbox.spawn(Command(("true",), cwd="/no/such/place"), role="target")
    assert box.run("echo alive").output == "alive\n"


def test_the_seams_are_kept(make_box: Callable[..., Box]) -> None:
    environment: Environment = LocalEnvironment()
    sandbox: Sandbox = make_box().sandbox
    assert (environment.name, sandbox.name) == ("local", "local")
    assert {"volumes", "network", "processes", "syscalls"} <= sandbox.capabilities


def test_what_the_harness_ignores_or_blocks_is_not_handed_on(make_box: Callable[..., Box]) -> None:
    old = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD, signal.SIGTERM])
    umask = os.umask(0o077)
    try:
        box = make_box()
        result = box.run("grep -E 'Sig(Blk|Ign)' /proc/self/status; umask")
    finally:
        os.umask(umask)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGHUP, old)
    assert result.output.split() == ["SigBlk:", "0" * 16, "SigIgn:", "0" * 16, "0022"]


def test_plain_says_what_it_cannot_do(make_box: Callable[..., Box]) -> None:
    box = make_box("plain")
    assert not {"volumes", "network", "readonly", "namespaces"} & box.sandbox.capabilities
    with pytest.raises(MissingCapability, match="volumes"):
        box.sandbox.resize(Place.SOURCE, 1)
