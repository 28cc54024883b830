"""Benchmarks: a command each, a table out, JSON beside it; ratios, because machines differ."""
