"""System calls by number for x86-64 and aarch64, and the families that rules name.

Numbers: ``asm/unistd_64.h`` and ``asm-generic/unistd.h`` of the kernel's uapi headers. ``where`` tells
which arguments name a file: ``p0`` a path relative to the working directory, ``d0.1`` a path (1)
relative to a directory descriptor (0), ``f0`` a descriptor, ``s1.2`` a socket address with its length;
several are joined by ``+``. ``size`` tells how many bytes a call is about to write: an argument, or ``v1.2``
an array of buffers (1) with its length (2). ``flags`` is the argument with the O_ flags of an open, ``h2`` a
pointer to ``struct open_how``.
"""

from __future__ import annotations

import platform

# name x86-64 aarch64 families where size flags
_TABLE = """
open             2   -    open                p0      -    1
openat           257 56   open                d0.1    -    2
openat2          437 437  open                d0.1    -    h2
creat            85  -    open                p0      -    c
read             0   63   read                f0      -    -
pread64          17  67   read                f0      -    -
readv            19  65   read                f0      -    -
preadv           295 69   read                f0      -    -
preadv2          327 286  read                f0      -    -
write            1   64   write               f0      2    -
pwrite64         18  68   write               f0      2    -
writev           20  66   write               f0      v1.2 -
pwritev          296 70   write               f0      v1.2 -
pwritev2         328 287  write               f0      v1.2 -
sendfile         40  71   write               f0      3    -
copy_file_range  326 285  write               f2      4    -
splice           275 76   write               f2      4    -
fallocate        285 47   fallocate           f0      -    -
fsync            74  82   fsync               f0      -    -
fdatasync        75  83   fsync               f0      -    -
sync_file_range  277 84   fsync               f0      -    -
syncfs           306 267  fsync               f0      -    -
rename           82  -    rename              p0+p1   -    -
renameat         264 38   rename              d0.1+d2.3 -  -
renameat2        316 276  rename              d0.1+d2.3 -  -
unlink           87  -    unlink              p0      -    -
unlinkat         263 35   unlink              d0.1    -    -
rmdir            84  -    unlink              p0      -    -
mkdir            83  -    mkdir               p0      -    -
mkdirat          258 34   mkdir               d0.1    -    -
mknod            133 -    mknod               p0      -    -
mknodat          259 33   mknod               d0.1    -    -
link             86  -    link                p1+p0   -    -
linkat           265 37   link                d2.3+d0.1 -  -
symlink          88  -    symlink             p1      -    -
symlinkat        266 36   symlink             d1.2    -    -
truncate         76  45   truncate            p0      -    -
ftruncate        77  46   truncate            f0      -    -
stat             4   -    stat                p0      -    -
lstat            6   -    stat                p0      -    -
fstat            5   80   stat                f0      -    -
newfstatat       262 79   stat                d0.1    -    -
statx            332 291  stat                d0.1    -    -
access           21  -    access              p0      -    -
faccessat        269 48   access              d0.1    -    -
faccessat2       439 439  access              d0.1    -    -
readlink         89  -    readlink            p0      -    -
readlinkat       267 78   readlink            d0.1    -    -
getdents         78  -    getdents            f0      -    -
getdents64       217 61   getdents            f0      -    -
chmod            90  -    chmod               p0      -    -
fchmod           91  52   chmod               f0      -    -
fchmodat         268 53   chmod               d0.1    -    -
fchmodat2        452 452  chmod               d0.1    -    -
chown            92  -    chown               p0      -    -
fchown           93  55   chown               f0      -    -
lchown           94  -    chown               p0      -    -
fchownat         260 54   chown               d0.1    -    -
utime            132 -    utime               p0      -    -
utimes           235 -    utime               p0      -    -
futimesat        261 -    utime               d0.1    -    -
utimensat        280 88   utime               d0.1    -    -
setxattr         188 5    setxattr            p0      -    -
lsetxattr        189 6    setxattr            p0      -    -
fsetxattr        190 7    setxattr            f0      -    -
getxattr         191 8    getxattr            p0      -    -
lgetxattr        192 9    getxattr            p0      -    -
fgetxattr        193 10   getxattr            f0      -    -
statfs           137 43   statfs              p0      -    -
fstatfs          138 44   statfs              f0      -    -
flock            73  32   flock               f0      -    -
connect          42  203  connect             s1.2    -    -
bind             49  200  bind                s1.2    -    -
sendto           44  206  send                f0      2    -
recvfrom         45  207  recv                f0      -    -
mmap             9   222  mmap                f4      -    -
execve           59  221  exec                p0      -    -
execveat         322 281  exec                d0.1    -    -
chdir            80  49   chdir               p0      -    -
"""

OPEN_KINDS = ("openread", "openwrite", "create")
"""Parts of the family ``open``: for reading only, for writing, with O_CREAT."""
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""AUDIT_ARCH values, against which a filter checks what kind of call it sees."""


class Call:
    """One system call on this architecture."""

    __slots__ = ("family", "flags", "name", "number", "size", "where")

    def __init__(self, name: str, number: int, columns: list[str]) -> None:
        self.name, self.number = name, number
        self.family, where, self.size, self.flags = columns
        self.where: list[tuple[str, list[int]]] = [
            (part[0], [int(index) for index in part[1:].split(".")]) for part in where.split("+")
        ]


def calls(machine: str | None = None) -> list[Call]:
    """All known calls of a machine; empty for one that is not supported."""
    machine = machine or platform.machine()
    column = {"x86_64": 0, "aarch64": 1}.get(machine)
    found = []
    for line in _TABLE.split("\n"):
        if not line or column is None:
            continue
        name, *numbers = line.split()
        if numbers[column] != "-":
            found.append(Call(name, int(numbers[column]), numbers[2:]))
    return found


def known_names() -> set[str]:
    """Every word a rule may use: families, kinds of open, and calls of any architecture."""
    names = set(OPEN_KINDS)
    for machine in ARCHITECTURES:
        for call in calls(machine):
            names |= {call.name, call.family}
    return names


def expand(names: tuple[str, ...] | list[str], machine: str | None = None) -> dict[int, tuple[Call, str]]:
    """Number -> (call, kind of open or ""), for families and single calls; raises ValueError for others.

    A word that is both (``open``, ``stat``) means the family. A call that this architecture
    lacks stands for its family, so that a rule written elsewhere still bites.
    """
    here = calls(machine)
    elsewhere = {call.name: call.family for other in ARCHITECTURES for call in calls(other)}
    found: dict[int, tuple[Call, str]] = {}
    for name in names:
        if name not in known_names():
            raise ValueError(f"unknown system call {name!r}; known are {', '.join(sorted(known_names()))}")
        kind = name if name in OPEN_KINDS else ""
        family = "open" if kind else name
        chosen = [call for call in here if call.family == family]
        chosen = chosen or [call for call in here if call.name == name]
        chosen = chosen or [call for call in here if call.family == elsewhere.get(name)]
        for call in chosen:
            found[call.number] = (call, kind if call.number not in found else "")
    return found
