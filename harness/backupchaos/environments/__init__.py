"""Where a run happens: ``local`` (namespaces), later containers and a simulation."""
