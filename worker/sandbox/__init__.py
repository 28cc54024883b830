"""Services private to one command: a RabbitMQ, a PostgreSQL and an S3 server that leave no trace.

`with start_rabbitmq() as broker: ...` gives a running service and takes everything away afterwards,
also when this process is killed. Where a service comes from, first match:

1. an address in the environment (never for a private node that is to be killed);
2. a container, where a Docker engine answers;
3. a node of its own from installed programs;
4. the same, after `apt-get install` where that is allowed, said aloud first;
5. otherwise `ServiceUnavailable`, whose text says how to get one.

All of it blocks; inside an event loop call it through `asyncio.to_thread`.
"""

from worker.sandbox.node import Node
from worker.sandbox.object_store import ObjectStore, S3Address, start_object_store
from worker.sandbox.postgresql import (
    PostgreSQL,
    create_database,
    drop_database,
    start_postgresql,
)
from worker.sandbox.proxy import Direction, Proxy
from worker.sandbox.rabbitmq import RabbitMQ, start_rabbitmq
from worker.sandbox.unavailable import ServiceUnavailable

__all__ = [
    "Direction",
    "Node",
    "ObjectStore",
    "PostgreSQL",
    "Proxy",
    "RabbitMQ",
    "S3Address",
    "ServiceUnavailable",
    "create_database",
    "drop_database",
    "start_object_store",
    "start_postgresql",
    "start_rabbitmq",
]
