"""Measures perdure beside the physical limits of the machine. `python -m benchmarks --help`."""
