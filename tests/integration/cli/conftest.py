"""Fixtures of tests that run commands."""

from tests.support.logs import logging_as_found

__all__ = ["logging_as_found"]
