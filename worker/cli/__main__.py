"""``python -m worker.cli`` is ``meerkat-worker``."""

from worker.cli import main

main()
