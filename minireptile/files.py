"""Files that are written so that a crash or a full disk leaves the old one whole; and arrays by
name in one of them, as safetensors, which unlike a pickle holds nothing that is run."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .errors import InputError, require

Tensors = dict[str, NDArray]


def write_atomically(path: Path, content: bytes) -> None:
    """Write beside `path`, flush to the disk, then rename over it. `InputError` if the folder
    cannot be written or the disk is full; `path` is then as it was."""
    temporary = None
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        if temporary and os.path.exists(temporary):
            os.unlink(temporary)
        raise InputError(
            f"cannot write {path}: {error.strerror or error}; free some space or choose another "
            "folder (what was saved before is still there)"
        ) from error


def write_tensors(path: Path, tensors: Mapping[str, NDArray], metadata: dict[str, str]) -> None:
    """Write arrays by name and texts by name, atomically; raises as `write_atomically`."""
    plain = {n: np.ascontiguousarray(a).reshape(np.shape(a)) for n, a in tensors.items()}
    write_atomically(path, require("safetensors.numpy", "cli").save(plain, metadata))


def check_version(path: Path, metadata: Mapping[str, str], newest: int) -> None:
    """`InputError` if a file's format is newer than what is read here."""
    if not metadata.get("version", "").isdigit() or int(metadata["version"]) > newest:
        raise InputError(
            f"{path} has format version {metadata.get('version')}, and this minireptile reads up "
            f"to {newest}: upgrade minireptile"
        )


def read_tensors(path: Path, what: str, missing: str) -> tuple[Tensors, dict[str, str]]:
    """The arrays and the texts of a file; `InputError` if it is no `what`, or, saying what is
    `missing`, if there is none."""
    safetensors = require("safetensors", "cli")
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, file.metadata() or {}
    except FileNotFoundError:
        raise InputError(missing) from None
    except (OSError, TypeError, safetensors.SafetensorError) as error:
        raise InputError(
            f"{path} is not a readable {what} ({error}): it may be cut short; restore it from a "
            "copy or make it again"
        ) from None
