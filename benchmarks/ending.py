"""The end of a benchmark: one that is terminated ends what it has started, as with Ctrl-C."""

from __future__ import annotations

import signal


def end_in_order() -> None:
    """Have SIGTERM raise KeyboardInterrupt: worker processes are ended on the way out."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
