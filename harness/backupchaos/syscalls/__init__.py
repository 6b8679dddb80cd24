"""The system call supervisor: stop chosen calls of a process tree, look at them, decide.

Mechanism: seccomp user notification (Linux 5.5; 5.19 for Go without a crutch). A filter that
the process installs before ``exec`` sends the listed calls to the supervisor, and costs the others
nothing. It holds for threads, children and static binaries alike, and needs no privilege. What a
kernel or a container refuses is tried, not guessed (``probe``): ``syscalls`` at all, ``short_writes`` by
pidfd_getfd, ``clock`` by a moment of ptrace at each exec.

What it cannot see: stores to mapped files, 32-bit programs. io_uring is refused to whoever is supervised, since it
would pass by. What it cannot promise: a
hostile multi-threaded process could change a path between our look and the kernel's (*time of
check, time of use*). Faults on ordinary tools are safe from that; it is no security boundary. A path
is matched as written (made absolute, dots removed), symbolic links in it are not resolved.

``tables`` knows calls and families, ``filters`` builds and installs the program, ``listener`` is the kernel's
side. ``rules`` and ``conditions`` decide, ``decode`` reads arguments. ``supervisor`` is the loop; ``parking`` keeps
calls that wait, ``acts`` acts in a caller's stead (``shortening``, ``clocks``), ``execs`` follows each exec,
``reports`` tells the agent. Standard library only: this runs inside sandboxes.
"""
