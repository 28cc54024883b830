"""Execution: performs runs with the users' code, under a lease. Knows no database and no driver."""
