"""Sandboxes made of containers: the same agent as on this machine, one in each container.

A sandbox is a private network without a way out, volumes in memory with a size, and up to five containers: the
keeper of the volumes, the target, its service, the link beside the service, and for restores a second target that
has the repository and nothing else. Docker's SDK and testcontainers are imported only when a sandbox is asked for.
"""
