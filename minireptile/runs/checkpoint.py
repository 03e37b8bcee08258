"""A run in one file: parameters, optimizer state, iteration and settings, as safetensors."""

from pathlib import Path

import numpy as np

from ..errors import InputError
from ..files import check_version, read_tensors, write_tensors
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
    write_tensors(path, tensors, metadata)


def load(path: Path) -> tuple[Snapshot, Settings]:
    """Read a checkpoint. `InputError` if it is missing, cut short, none of minireptile's, of a
    newer version, or holds NaN."""
    missing = f"there is no checkpoint {path}: is this the folder of a run?"
    tensors, metadata = read_tensors(path, "checkpoint", missing)
    if metadata.get("format") != FORMAT:
        raise InputError(f"{path} is a safetensors file, but not a checkpoint of minireptile")
    check_version(path, metadata, VERSION)
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
