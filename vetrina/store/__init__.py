"""The store: every file Vetrina keeps, behind paths relative to one root (a folder or ``s3://bucket/prefix``).

Belongs here: how bytes are written, read, listed and locked. Does not belong here: what the bytes mean.

Writes are atomic: a reader sees the old file or the new one, never a part. On a local disk a write goes aside,
is flushed to the disk and renamed; on object stores one PUT is atomic by itself. `create` is the one commit that
every kind of store can do: it succeeds for exactly one writer.
"""

from vetrina.store.cache import file_cache
from vetrina.store.files import FileInfo, blob_path, sha256_of
from vetrina.store.root import Store

__all__ = ["FileInfo", "Store", "blob_path", "file_cache", "sha256_of"]
