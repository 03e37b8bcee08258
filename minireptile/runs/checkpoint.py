"""A run in one file: parameters, optimizer state, iteration and settings, as safetensors."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import InputError, require
from ..files import write_atomically
from ..loops import Snapshot
from .settings import Settings, from_json

FORMAT = "minireptile"
VERSION = 1


def save(path: Path, run: Snapshot, settings: Settings) -> None:
    """Write a checkpoint, atomically; `InputError` if it cannot be written."""
    tensors = {"theta": run.theta} | {f"state.{k}": v for k, v in run.state.items()}
    metadata = {
        "format": FORMAT,
        "version": str(VERSION),
        "iteration": str(run.iteration),
        "settings": settings.to_json(),
    }
    contiguous = {name: np.ascontiguousarray(array).reshape(np.shape(array)) for name, array in
                  tensors.items()}  # fmt: skip
    content = require("safetensors.numpy", "cli").save(contiguous, metadata)
    write_atomically(path, content)


def load(path: Path) -> tuple[Snapshot, Settings]:
    """Read a checkpoint.

    Raises
    ------
    InputError
        If the file is missing, cut short, no checkpoint of minireptile's, of a newer version, or
        holds NaN.
    """
    safetensors = require("safetensors", "cli")
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise InputError(f"there is no checkpoint {path}: is this the folder of a run?") from None
    except (OSError, safetensors.SafetensorError) as error:
        raise InputError(
            f"{path} is not a readable checkpoint ({error}): it may be cut short; "
            "restore it from a copy or train again"
        ) from None
    if metadata.get("format") != FORMAT:
        raise InputError(f"{path} is a safetensors file, but not a checkpoint of minireptile")
    if not metadata.get("version", "").isdigit() or int(metadata["version"]) > VERSION:
        raise InputError(
            f"{path} has format version {metadata.get('version')}, and this minireptile reads up "
            f"to {VERSION}: upgrade minireptile"
        )
    if "theta" not in tensors or not metadata.get("iteration", "").isdigit():
        raise InputError(f"{path} lacks theta or the iteration: restore it from a copy")
    try:
        settings = from_json(metadata.get("settings", ""))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    for name, array in tensors.items():
        if not np.isfinite(array).all():
            raise InputError(f"{path} holds NaN or infinity in {name}: train again")
    state = {k.removeprefix("state."): v for k, v in tensors.items() if k.startswith("state.")}
    run = Snapshot(int(metadata["iteration"]), tensors["theta"], state, np.empty((0, 0)))
    return run, settings


def check_fits(path: Path, run: Snapshot, fresh: Snapshot) -> None:
    """Raise `InputError` unless a loaded run has the arrays that a fresh one of its model has."""
    expected = {"theta": fresh.theta, **fresh.state}
    found = {"theta": run.theta, **run.state}
    shapes = [{k: (v.shape, str(v.dtype)) for k, v in d.items()} for d in (expected, found)]
    if shapes[0] != shapes[1]:
        raise InputError(
            f"{path} is of another model: expected {shapes[0]}, found {shapes[1]}; "
            "its settings and its arrays do not belong together"
        )
