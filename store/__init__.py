"""Transactions: what is durable, and when. Knows SQLAlchemy and S3; knows nothing of RabbitMQ."""
