"""Decoders under fire: hostile bytes and names, with a guard on what must never happen.

    python -m tests.fuzz --seconds 600 --target payload --ledger fuzz.jsonl

`targets` says what is fed, `mutate` makes the inputs, `guard` watches, `run` is one process of it.
"""
