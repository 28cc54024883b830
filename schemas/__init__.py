"""The vocabulary of meerkat-worker: frozen types of the wire and of durable records. No I/O.

Everything else in the project speaks in these types. The JSON of inputs, run events and receipts is
that of meerkat-runtime 0.5.0; ``docs/wire.md`` is the contract in prose and ``schemas/json/`` holds
JSON Schemas generated from this package.
"""
