"""Blob stores: bytes by the digest of their content, in a directory or in an S3 bucket."""

from store.blobs.address import S3Address, open_blobs, read_address
from store.blobs.directory import DirectoryBlobStore
from store.blobs.memory import MemoryBlobStore
from store.blobs.orphans import sweep_orphans

__all__ = [
    "DirectoryBlobStore",
    "MemoryBlobStore",
    "S3Address",
    "open_blobs",
    "read_address",
    "sweep_orphans",
]
