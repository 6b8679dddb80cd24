"""Databases that a job may need besides its repository: a catalog, an authentication service, a queue."""
