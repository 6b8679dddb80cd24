"""Sandboxes made of containers: the same agent as on this machine, one in each container.

A sandbox is a private network without a way out, volumes in memory with a size, and some containers: the keeper of
the volumes, the target, its services, the link beside them, and for restores a second target that has the
repository and nothing else. Docker's SDK and testcontainers are imported only when a sandbox is asked for.
"""
