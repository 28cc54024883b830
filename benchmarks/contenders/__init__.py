"""Contenders: programs that consume the same messages, each run in a process of its own."""
