"""A small, honest, real backup engine: the system that the harness tests first.

It imports nothing else of this project.  Its behaviour under faults is the executable form of the expectations
table; `misbehaviour` holds the planted lies that the harness must find.
"""
