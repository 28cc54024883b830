"""What can go wrong in a store, in the store's own words."""

from __future__ import annotations


class StoreError(Exception):
    """Anything that a store raises on purpose."""


class StoreUnavailableError(StoreError):
    """The database cannot be reached or cannot write now; the same call may work later."""


class SchemaError(StoreError):
    """The database's schema is not the one this version needs; ``migrate`` brings it there."""


class BlobStoreUnavailableError(StoreError):
    """The blob store cannot be reached or answers with a failure; the same call may work later."""


class BlobMissingError(StoreError):
    """No blob has this id.

    Attributes:
        blob_id: The id asked for.
    """

    def __init__(self, blob_id: str) -> None:
        super().__init__(f"no blob {blob_id}")
        self.blob_id = blob_id


class BlobDamagedError(BlobMissingError):
    """The bytes under an id are not those that the id names: as good as missing.

    Attributes:
        blob_id: The id asked for.
    """

    def __init__(self, blob_id: str) -> None:
        super().__init__(blob_id)
        self.args = (f"blob {blob_id} is damaged: its bytes do not match its id",)


class BlobAddressError(StoreError, ValueError):
    """An address of a blob store that cannot be read. Never quotes it: it holds secrets."""


class StoreAddressError(StoreError, ValueError):
    """An address of a database that cannot be read. Never quotes the address: it holds secrets."""


class RefusedError(StoreError):
    """The database refuses what was to be written: a constraint, or a value it cannot hold.

    Trying again changes nothing. The message names the constraint, never a value.
    """


class DamagedRowError(StoreError):
    """A stored row that cannot be decoded and that cannot be left out.

    Attributes:
        table: Where it is.
        key: Which row it is.
    """

    def __init__(self, table: str, key: str, fault: str) -> None:
        super().__init__(f"row {key} of {table} cannot be decoded: {fault}")
        self.table = table
        self.key = key
