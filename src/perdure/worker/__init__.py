"""Workers: claim, attempt, settle; and the housekeeping that keeps their leases alive."""
