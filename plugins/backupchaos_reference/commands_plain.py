"""The commands that need no repository."""

from __future__ import annotations

import argparse
import json
import sys

from backupchaos_reference import misbehaviour
from backupchaos_reference.jobs import JobStore


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def status(options: argparse.Namespace) -> int:
    """Print every job with all its transitions."""
    store = JobStore(options.state, create=False)
    try:
        jobs = store.jobs()
    finally:
        store.close()
    if options.json:
        _say(json.dumps({"jobs": jobs}))
        return 0
    for job in jobs:
        path = " ".join(step["to"] for step in job["transitions"])
        _say(f"{job['job_id']}  {job['created']}  {path}" + (f"  {job['error']}" if job["error"] else ""))
    return 0


def list_misbehaviours(options: argparse.Namespace) -> int:
    """Print the catalogue of planted misbehaviours."""
    if options.json:
        _say(json.dumps({"misbehaviours": [entry._asdict() for entry in misbehaviour.CATALOGUE.values()]}))
        return 0
    for entry in misbehaviour.CATALOGUE.values():
        _say(f"{entry.name:36}{entry.law:16}{entry.sentence}")
    return 0
