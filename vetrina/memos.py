"""Memos: results kept so that they need not be made again, one small file each, named by what they came from.

A memo may be lost or cut short by a power failure; it carries a checksum, and one that fails it counts as absent.
So writing one need not wait for the disk.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from vetrina.store import Store

_CHECK = 16


def read_memo(store: Store, kind: str, key: str) -> bytes | None:
    """The memo of `kind` for `key` (hexadecimal), or None when it must be made."""
    try:
        data = store.read(_path(kind, key))
    except FileNotFoundError:
        return None
    body = data[_CHECK:]
    return body if data[:_CHECK] == _checksum(body) else None


def write_memo(store: Store, kind: str, key: str, body: bytes) -> None:
    """Keep `body` as the memo of `kind` for `key` (hexadecimal)."""
    store.write(_path(kind, key), _checksum(body) + body, durable=False)


def read_json_memo(store: Store, kind: str, key: str) -> Any:
    """The memo as the JSON value that `write_json_memo` was given, or None."""
    body = read_memo(store, kind, key)
    return None if body is None else json.loads(body)


def write_json_memo(store: Store, kind: str, key: str, value: Any) -> None:
    """Keep a JSON value as a memo."""
    write_memo(store, kind, key, json.dumps(value, ensure_ascii=False).encode())


def _checksum(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest()[:_CHECK].encode()


def _path(kind: str, key: str) -> str:
    return f"{kind}/{key[:2]}/{key}"
