"""What users touch: tasks, workflows, invocations, operations, settings. Thin over the engine."""
