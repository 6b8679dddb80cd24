"""Checks: pure functions of a run's history to rows with verdict and evidence."""
