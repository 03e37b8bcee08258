"""Trained initialisations for the figure of one wave: `python -m minireptile.explore.starts`.

All five algorithms as `minireptile reproduce sine` runs them, at full length, and where a network
starts untrained. The file holds each theta (4353,) as float16, and as text how it was made.
"""

from __future__ import annotations

import io
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..networks import sine_mlp

FILE = "starts.npz"
STARTS = ("random", "joint", "reptile", "fomaml", "maml", "imaml")


def make(path: Path, iterations: int, backend: str = "numpy") -> None:
    """Train all, and write them in one file.

    Parameters
    ----------
    path : Path
        Ends in ".npz".
    iterations : int
        Of each.
    backend : str
        The file that ships is made by "numba", in minutes.

    Raises
    ------
    InputError
        If a run diverges.
    """
    from ..reproduce.sine import ALGORITHMS
    from ..tasks.sine import Sine

    model = sine_mlp(64, backend=backend)
    held = {"random": model.init(0)}
    for name, (optimizer, loops) in recipes(iterations).items():
        for run in ALGORITHMS[name](model, Sine(), optimizer, loops):
            held[name] = run.theta
        print(f"{name}: {optimizer}, {loops}", flush=True)
    half: Any = {name: theta.astype(np.float16) for name, theta in held.items()}
    np.savez_compressed(path, settings=np.array(settings(iterations)), **half)


def recipes(iterations: int) -> dict[str, Any]:
    """The optimizer and the loops of each algorithm."""
    from ..reproduce.sine import settings

    return settings(iterations)


def settings(iterations: int) -> list[str]:
    """What the file says of how its arrays were made."""
    return ["sine_mlp(64).init(0)"] + [
        f"{name}(sine_mlp(64), Sine(), {optimizer}, {loops})"
        for name, (optimizer, loops) in recipes(iterations).items()
    ]


@cache
def starts() -> dict[str, NDArray]:
    """What ships: each theta (4353,), as float32."""
    shipped = (files(__package__) / FILE).read_bytes()
    with np.load(io.BytesIO(shipped), allow_pickle=False) as file:
        return {name: file[name].astype(np.float32) for name in STARTS}


if __name__ == "__main__":
    make(Path(__file__).with_name(FILE), 30_000, "numba")
