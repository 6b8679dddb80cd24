"""The system call supervisor: stop chosen calls of a process tree, look at them, decide.

Mechanism: seccomp user notification (Linux 5.5; 5.19 for Go without a crutch). A filter that
the process installs before ``exec`` sends the listed calls to the supervisor, and costs the others
nothing. It holds for threads, children and static binaries alike, and needs no privilege.

What it cannot see: stores to mapped files, io_uring, the vDSO. What it cannot promise: a
hostile multi-threaded process could change a path between our look and the kernel's (*time of
check, time of use*). Faults on ordinary tools are safe from that; it is no security boundary. A path
is matched as written (made absolute, dots removed), symbolic links in it are not resolved.

``tables`` knows calls and families, ``rules`` decides, ``decode`` reads arguments, ``filters`` builds and
installs the program, ``supervisor`` is the loop. Standard library only: this runs inside sandboxes.
"""
