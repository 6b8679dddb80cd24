"""Adapters for real backup tools; each is loaded by name through the entry points ``backupchaos.targets``."""
