"""The worker: broker, clock, signals and command line around the pure driver."""
