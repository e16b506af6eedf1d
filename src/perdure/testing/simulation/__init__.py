"""Deterministic simulation: whole fleets of workers on virtual time, with chosen bad luck.

`python -m perdure.testing.simulation --seeds 0:1000` runs a thousand schedules. In each, workers of
the real engine run generated workflows on a store that survives them, while they crash, stall, lose
wake-ups and see clocks jump, and after every event the invariants of the store are checked. All
chance comes from the seed: the same seed does the same, event by event, so a failure can be
replayed and made smaller.
"""
