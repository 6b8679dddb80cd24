"""Results of runs for people and machines: terminal, Markdown, JUnit properties, one HTML file.

Everything here is a pure function of ``backupchaos.results`` and ``backupchaos.history``.
"""
