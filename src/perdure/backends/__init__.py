"""State backends: where invocations and journals live. Drivers are named by the app only."""
