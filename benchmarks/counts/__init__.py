"""What an operation costs in calls, statements, commits and trips: the same on every machine."""
