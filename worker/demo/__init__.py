"""The demo: three runtimes, some forty messages, a worker killed half way, and what came of it."""
