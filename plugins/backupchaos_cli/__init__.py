"""The command line: ``backupchaos list|show|lint|run|report|doctor|cleanup``."""
