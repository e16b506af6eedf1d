"""What is checked after every event of a simulation. Each module looks at one kind of fact.

The checks do not ask the code that they check: they keep records of their own, of what was granted,
accepted, begun and seen, and compare. docs/invariants.md names the invariants.
"""
