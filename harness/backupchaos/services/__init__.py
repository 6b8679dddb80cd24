"""Repository servers that run inside the sandbox, behind a link."""
