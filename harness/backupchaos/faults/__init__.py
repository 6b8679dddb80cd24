"""The mechanisms behind the faults: apply, verify, undo, verify undone, and proof of bite."""
