"""What users would pick instead, each run by its own Python: it must not import perdure."""
