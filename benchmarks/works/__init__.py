"""What is measured, one module each. A work makes its places, runs once, and gives figures."""
