"""System calls by number for x86-64 and aarch64, and the families that rules name.

Numbers: ``asm/unistd_64.h`` and ``asm-generic/unistd.h`` of the kernel's uapi headers. The columns:

``where`` tells which arguments name a file: ``p0`` a path relative to the working directory, ``d0.1`` a path (1)
relative to a directory descriptor (0), ``f0`` a descriptor, ``s1.2`` a socket address with its length, ``m0`` the
file mapped at an address, ``l0.2`` a descriptor (0) and the ``struct flock`` that locks it (unlocking names nothing),
``c0`` a clock by its number, ``k`` the wall clock, ``*`` every file there is; several are joined by ``+``.

``size`` tells how many bytes a call is about to write: an argument, or ``v1.2`` an array of buffers (1) with
its length (2), or ``r``: none, but it reserves room as ``fallocate`` does. ``flags`` is the argument with the O_ flags of an open, ``h2`` a pointer to ``struct open_how``.

``only`` is the part of a call that is of interest; the rest is never stopped: ``1=6,7`` argument 1 is 6 or 7, ``1&256``
it has that bit, ``3!`` it is not zero; several are joined by ``+``, and all must hold.

Calls that copy between two files have a second line, as readers of the other.
"""

from __future__ import annotations

import copy
import difflib
import platform
from functools import cache

# name x86-64 aarch64 families where size flags only
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
sendfile_in      40  71   read                f1      -    -
copy_file_in     326 285  read                f0      -    -
splice_in        275 76   read                f0      -    -
fallocate        285 47   fallocate           f0      r    -
fsync            74  82   fsync,sync          f0      -    -
fdatasync        75  83   fsync,sync          f0      -    -
sync_file_range  277 84   fsync,sync          f0      -    -
syncfs           306 267  fsync,sync          f0      -    -
msync            26  227  sync                m0      -    -
sync             162 81   sync                *       -    -
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
getdents         78  -    getdents,readdir    f0      -    -
getdents64       217 61   getdents,readdir    f0      -    -
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
flock            73  32   flock,lock          f0      -    -    1=1,2,5,6
fcntl            72  25   lock                l0.2    -    -    1=6,7,37,38
connect          42  203  connect             s1.2    -    -
bind             49  200  bind                s1.2    -    -
sendto           44  206  send                f0      2    -
recvfrom         45  207  recv                f0      -    -
mmap             9   222  mmap                f4      -    -
execve           59  221  exec                p0      -    -
execveat         322 281  exec                d0.1    -    -
clone            56  220  process             *       -    -
clone3           435 435  process             *       -    -
fork             57  -    process             *       -    -
vfork            58  -    process             *       -    -
socket           41  198  descriptor          *       -    -
socketpair       53  199  descriptor          *       -    -
accept           43  202  descriptor          *       -    -
accept4          288 242  descriptor          *       -    -
pipe             22  -    descriptor          *       -    -
pipe2            293 59   descriptor          *       -    -
dup              32  23   descriptor          *       -    -
epoll_create     213 -    descriptor          *       -    -
epoll_create1    291 20   descriptor          *       -    -
eventfd2         290 19   descriptor          *       -    -
memfd_create     319 279  descriptor          *       -    -
inotify_init1    294 26   descriptor          *       -    -
timerfd_create   283 85   descriptor          *       -    -
chdir            80  49   chdir               p0      -    -
clock_gettime    228 113  clock               c0      -    -    0=0,5,11
gettimeofday     96  169  clock               k       -    -
time             201 -    clock               k       -    -
clock_nanosleep  230 115  clockwait           c0      -    -    0=0,11+1&1+2!
futex            202 98   clockwait           k       -    -    1&256+3!
"""

EVERYTHING = b"(every file)"
"""What ``sync`` is about; it concerns the paths of any rule. It cannot fail: an errno would not be noticed."""
OPEN_KINDS = ("openread", "openwrite", "create")
"""Parts of the family ``open``: for reading only, for writing, with O_CREAT."""
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""AUDIT_ARCH values, against which a filter checks what kind of call it sees."""


Condition = tuple[int, str, list[int]]
"""Which argument, ``=`` or ``&`` or ``!``, and the values."""


class Call:
    """One system call on this architecture."""

    __slots__ = ("families", "flags", "name", "number", "only", "size", "where")

    def __init__(self, name: str, number: int, columns: list[str]) -> None:
        self.name, self.number = name, number
        families, where, self.size, self.flags, *only = columns
        self.families = families.split(",")
        self.where: list[tuple[str, list[int]]] = [
            (part[0], [int(index) for index in part[1:].split(".") if index]) for part in where.split("+")
        ]
        self.only = [_condition(text) for text in only[0].split("+")] if only else []

    @property
    def reserves(self) -> bool:
        """Whether it writes nothing, but takes room on the disk for what is to come."""
        return self.size == "r"

    def and_also(self, other: Call) -> Call:
        """The same call seen from two sides."""
        both = copy.copy(self)
        both.families = self.families + other.families
        both.where = self.where + other.where
        both.size = self.size if other.size == "-" else other.size
        return both


def _condition(text: str) -> Condition:
    sign = next(sign for sign in "=&!" if sign in text)
    index, _, values = text.partition(sign)
    return int(index), sign, [int(value) for value in values.split(",") if value]


def calls(machine: str | None = None) -> list[Call]:
    """All known calls of a machine; empty for one that is not supported. Always the same objects."""
    return _calls(machine or platform.machine())


@cache
def _calls(machine: str) -> list[Call]:
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
            names |= {call.name, *call.families}
    return names


def expand(names: tuple[str, ...] | list[str], machine: str | None = None) -> dict[int, tuple[Call, str]]:
    """Number -> (call, kinds of open joined by ``+`` or ""), for families and single calls; raises ValueError for others.

    A word that is both (``open``, ``stat``) means the family. A call that this architecture
    lacks stands for its family, so that a rule written elsewhere still bites.
    """
    here = calls(machine)
    elsewhere = {call.name: call.families[0] for other in ARCHITECTURES for call in calls(other)}
    found: dict[int, tuple[Call, str]] = {}
    for name in names:
        if name not in known_names():
            near = difflib.get_close_matches(name, known_names(), 1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ValueError(
                f"unknown system call or family {name!r}; {hint}known are {', '.join(sorted(known_names()))}"
            )
        kind = name if name in OPEN_KINDS else ""
        family = "open" if kind else name
        chosen = [call for call in here if family in call.families]
        chosen = chosen or [call for call in here if call.name == name]
        chosen = chosen or [call for call in here if elsewhere.get(name) in call.families]
        for call in chosen:
            known, kinds = found.get(call.number, (call, kind))
            if known is not call:  # a copy, both as a reader and as a writer
                known = known.and_also(call)
            found[call.number] = (
                known,
                f"{kinds}+{kind}" if kinds and kind and kinds != kind else kinds and kind,
            )
    return found
