"""The driver: one runtime's state machine. No I/O, no clock, no randomness.

Time and new ids come in as arguments. Given a message it answers with an outcome, and records
changes (rows to write) and effects (things to do with or after the commit).
"""
