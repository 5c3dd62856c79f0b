"""Files that a person names for the command line to write: reports and pictures."""

from __future__ import annotations

import uuid
from pathlib import Path

from vetrina.errors import SettingError, StoreError


def check_place(file: Path | None) -> None:
    """Raise SettingError when a file cannot be written there, before hours are spent on it."""
    if file is None:
        return
    try:
        if file.is_dir():
            raise SettingError(f"{file} is a folder; name a file in it")
        if file.exists() and not file.is_file():
            raise SettingError(f"{file} is a device or a pipe, which a file must not replace; name a file")
        if not file.parent.is_dir():
            raise SettingError(f"There is no folder for {file}; choose another place")
    except OSError as error:
        raise SettingError(f"{file} cannot be written: {error.strerror}; choose another place") from error


def write_whole(file: Path, data: bytes) -> None:
    """Put a file in a person's folder, whole or not at all. Raises StoreError."""
    aside = file.with_name(f".{uuid.uuid4().hex}.part")
    try:
        aside.write_bytes(data)
        aside.replace(file)
    except OSError as error:
        raise StoreError(f"{file} cannot be written: {error.strerror}; choose another place") from error
    finally:
        aside.unlink(missing_ok=True)
