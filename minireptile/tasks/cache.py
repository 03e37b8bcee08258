"""Decoded images kept in the user's cache folder, so that a second run starts at once."""

from __future__ import annotations

import os
import tempfile
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import require


def cache_folder() -> Path:
    """The folder for things that can be fetched or computed again."""
    return Path(require("pooch", "cli").os_cache("minireptile"))


def load(file: Path, key: str) -> dict[str, NDArray] | None:
    """The arrays kept under `key`; None if there are none, or the file cannot be read."""
    try:
        with open(file, "rb") as stream, np.load(stream, allow_pickle=False) as kept:
            if str(kept["key"]) != key:
                return None
            return {name: kept[name] for name in kept.files if name != "key"}
    except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile, zlib.error):
        return None


def store(file: Path, key: str, arrays: dict[str, NDArray]) -> None:
    """Keep `arrays` under `key`, or do nothing if the folder cannot be written."""
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(suffix=".part", dir=file.parent)
        try:
            with open(handle, "wb") as stream:
                np.savez(stream, key=np.array(key), **arrays)  # type: ignore[arg-type]
            os.replace(part, file)
        except BaseException:
            os.unlink(part)
            raise
