"""The statements of a commit: each has its text, and rows fit it."""

import pytest

from store.engine import database
from store.flavours import Postgresql, Sqlite
from store.writes import Statements, Write

ADDRESSES = ("sqlite+aiosqlite:///store.db", "postgresql+asyncpg://localhost/store")


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("write", Write)
def test_every_write_compiles_with_its_parameters_in_the_order_of_its_rows(
    address: str, write: Write
) -> None:
    statements = Statements(database(address))
    text = statements.text(write)
    assert text.split(" ", 1)[0] in {"INSERT", "UPDATE", "DELETE"}
    assert statements.text(write) is text


def test_the_address_tells_the_flavour() -> None:
    sqlite, postgresql = (database(address).flavour for address in ADDRESSES)
    assert isinstance(sqlite, Sqlite)
    assert isinstance(postgresql, Postgresql)
