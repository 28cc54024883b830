"""RabbitMQ: connections, topology, consumers, publishers. Knows no SQL and no driver."""
