"""The deterministic core: facts in, decisions out. No clock, no chance, no thread, no file."""
