"""The restore oracle: what a tree of files is, whether two trees are the same, and trees to try it on.

Standard library only, and nothing of the rest of the engine: these modules also run in a bare
``python -ISB`` process inside a sandbox.
"""

from .change import ChangeSummary, apply_change
from .compare import compare, compare_either
from .copy import copy_tree
from .copymodel import CopyLimits, CopySummary
from .display import display_path
from .entry import Entry, EntryType, ManifestError, TreeError, order_key
from .generate import BuildSummary, build
from .manifest import ManifestSummary, scan
from .reader import ManifestReader, read_summary
from .result import ALL, CONTENT_ONLY, STRICT, Aspect, Comparison, Difference
from .spec import DEFAULT_FEATURES, PORTABLE_FEATURES, Feature, SourceSpec

__all__ = [
    "ALL",
    "CONTENT_ONLY",
    "DEFAULT_FEATURES",
    "PORTABLE_FEATURES",
    "STRICT",
    "Aspect",
    "BuildSummary",
    "ChangeSummary",
    "Comparison",
    "CopyLimits",
    "CopySummary",
    "Difference",
    "Entry",
    "EntryType",
    "Feature",
    "ManifestError",
    "ManifestReader",
    "ManifestSummary",
    "SourceSpec",
    "TreeError",
    "apply_change",
    "build",
    "compare",
    "compare_either",
    "copy_tree",
    "display_path",
    "order_key",
    "read_summary",
    "scan",
]
