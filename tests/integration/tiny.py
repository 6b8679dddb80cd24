"""A backup tool of a few lines, with a cache, a lock and a password; words in TINY plant its mistakes."""

import hashlib
import json
import os
import sys
from pathlib import Path

command, repo, cache, password, *rest = sys.argv[1:]
planted = set(os.environ.get("TINY", "").split())
root, known, lock = Path(repo), Path(cache) / "known", Path(repo) / "lock"
secret = hashlib.sha256(password.encode()).hexdigest()


def fail(text: str) -> None:
    sys.exit(f"error: {text}")


def open_repository() -> None:
    if not (root / "id").exists():
        fail("there is no repository")
    if (root / "id").read_text().split()[1] != secret and "any_password" not in planted:
        fail("wrong password")
    remembered = known.read_text(errors="replace").splitlines()[1:] if known.exists() else []
    if "refuses_older" in planted and any(not (root / "blobs" / name).exists() for name in remembered):
        fail("the repository is older than the cache")


def numbers() -> list[int]:
    return sorted(int(path.name) for path in (root / "snapshots").iterdir())


def back_up(source: str) -> None:
    identity = (root / "id").read_text()
    remembered = known.read_text(errors="replace").splitlines() if known.exists() else None
    if remembered is None and "needs_cache" in planted:
        fail("there is no cache")
    if lock.exists() and "waits_for_the_dead" in planted:
        fail("the repository is locked")
    lock.write_text("locked")
    there = {path.name for path in (root / "blobs").iterdir()}
    if "trusts_cache" in planted:
        there |= set(remembered or ())
    if "keeps_quiet" in planted and identity not in (remembered or [identity]):
        return
    files = {}
    for folder, names, found in os.walk(source):
        for name in names:
            files[os.path.relpath(os.path.join(folder, name), source)] = ""
        for name in found:
            data = Path(folder, name).read_bytes()
            digest = hashlib.sha256(data).hexdigest()
            if digest not in there:
                (root / "blobs" / digest).write_bytes(secret.encode() + data)
                there.add(digest)
            files[os.path.relpath(os.path.join(folder, name), source)] = digest
    number = (numbers() or [0])[-1] + 1
    (root / "snapshots" / str(number)).write_text(json.dumps(files))
    known.write_text("\n".join([identity, *there]))
    lock.unlink()


def restore(number: str, target: str) -> None:
    for name, digest in json.loads((root / "snapshots" / number).read_text()).items():
        path = Path(target, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        if not digest:
            path.mkdir(exist_ok=True)
            continue
        if not (root / "blobs" / digest).exists():
            fail(f"{digest} is missing")
        data = (root / "blobs" / digest).read_bytes()
        if not data.startswith(secret.encode()):
            fail(f"{digest} cannot be decrypted")
        path.write_bytes(data[len(secret) :])


if command == "init":
    for name in ("blobs", "snapshots"):
        (root / name).mkdir()
    (root / "id").write_text(f"{os.urandom(8).hex()} {secret}")
    known.write_text((root / "id").read_text())
else:
    open_repository()
    if command == "backup":
        back_up(*rest)
    elif command == "restore":
        restore(*rest)
    else:
        print("\n".join(map(str, numbers())))
