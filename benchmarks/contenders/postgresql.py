"""Contender: aio-pika consumes, SQLAlchemy Core writes with asyncpg, commits, and acks.

As ``transaction``, on PostgreSQL: while a commit runs the next batch collects.
"""

from __future__ import annotations

import uvloop
from sqlalchemy.ext.asyncio import create_async_engine

from benchmarks.assignment import received, report
from benchmarks.contenders.transaction import consume

if __name__ == "__main__":
    told = received()
    report(told.messages, *uvloop.run(consume(told, create_async_engine(told.database))))
