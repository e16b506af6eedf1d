"""Mutation: a small fault in one place of the code, and whether the tests next to it see it."""
