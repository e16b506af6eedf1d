"""The engine: operations as generators, the two loops that drive them, and the committer."""
