"""The fault campaign: real processes under load, faults from a seed, and an independent checker."""
