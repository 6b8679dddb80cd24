"""The seam to the backup tools under test."""
