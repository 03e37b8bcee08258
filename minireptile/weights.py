"""Weights in files of their own: to ship, and for PyTorch and JAX.

All are safetensors, with a tensor for each parameter, named as in `Model.unflatten`. What differs
is how a parameter is called and how it lies (`LAYOUTS`):

========  ===========================  =========================  ========================
layout    convolution                  dense                      batch norm
========  ===========================  =========================  ========================
own       weight (kh, kw, C_in, C_out) weight (n_in, n_out)       gamma, beta
torch     weight (C_out, C_in, kh, kw) weight (n_out, n_in)       weight, bias
jax       kernel (kh, kw, C_in, C_out) kernel (n_in, n_out)       scale, bias
========  ===========================  =========================  ========================

PyTorch keeps channels first, so a dense layer behind `Flatten` meets the pixels in another order:
its rows are put into the order of PyTorch's own flatten, of (C, H, W). Flax flattens as we do.

The same logits need the same padding. Ours is TensorFlow's, which with stride 2 is not symmetric:
over n pixels, a window k and a stride s, there are m = ceil(n / s) outputs and
p = max((m - 1) s + k - n, 0) rows of zeros, floor(p / 2) of them before and the rest behind. In
PyTorch that is ``F.pad(x, (left, right, top, bottom))`` before a convolution with ``padding=0``;
in Flax, ``padding="SAME"``. And the same batch norm, which has no moving averages and eps = 1e-3:
``BatchNorm2d(n, eps=1e-3, track_running_stats=False)``; in Flax ``use_running_average=False``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .checks import choice, shown
from .doors import check_model
from .errors import InputError
from .files import Tensors, check_version, read_tensors, write_tensors
from .layers import LAYERS, BatchNorm, Conv2D, Dense, Flatten, Layer, Shape
from .model import Model
from .optim import OPTIMIZERS
from .trained import Trained

FORMAT = "minireptile-weights"
VERSION = 1
Change = Callable[[NDArray], NDArray]
# What PyTorch's batch norm keeps besides, and ours, which has no moving averages, does not read.
MOVING = ("running_mean", "running_var", "num_batches_tracked")


@dataclass(frozen=True)
class Layout:
    """How a framework calls the parameters, and whether its images have the channels first."""

    names: Mapping[type[Layer], Mapping[str, str]]
    channels_first: bool = False
    mark: str = ""  # in the file's "format", as each framework's own writer has it


KERNEL = {"weight": "kernel"}
LAYOUTS = {
    "own": Layout({}),
    "torch": Layout({BatchNorm: {"gamma": "weight", "beta": "bias"}}, True, "pt"),
    "jax": Layout(
        {Conv2D: KERNEL, Dense: KERNEL, BatchNorm: {"gamma": "scale", "beta": "bias"}}, mark="flax"
    ),
}


# ---------------------------------------------------------------------------------- to and from


def export(trained: Trained, path: str | Path, layout: str = "own", half: bool = False) -> None:
    """Write a trained model's weights.

    Parameters
    ----------
    trained : Trained
        Of a run: ``minireptile.load(RUN)``.
    path : path
        A file NAME.safetensors.
    layout : {"own", "torch", "jax"}
        "own" holds all of `trained`, and ``minireptile.load(path)`` gives it back. The others hold
        the parameters alone, as ``load_state_dict`` and Flax expect them.
    half : bool
        In float16, which halves the file. Of Adam's second moment it is the root that is rounded;
        a state is scaled by a power of two, so that its small numbers keep their digits.

    Raises
    ------
    InputError
        If the file cannot be written, or a number does not fit float16.

    Notes
    -----
    The same logits need TensorFlow's padding, not symmetric with stride 2, and batch statistics at
    all times: `minireptile.weights` says how to have both in PyTorch and in Flax.
    """
    if not isinstance(trained, Trained):
        raise InputError(f"export needs a Trained, as load(RUN) gives it, not {shown(trained)}")
    path, known = Path(path), LAYOUTS[choice(layout, "export: layout", tuple(LAYOUTS))]
    tensors = laid_out(trained.model, trained.theta, layout)
    if half:
        with np.errstate(over="ignore"):
            tensors = {name: array.astype(np.float16) for name, array in tensors.items()}
        for name, array in tensors.items():
            if not np.isfinite(array).all():
                raise InputError(f"{name} holds numbers beyond float16's: export it without half")
    metadata = {"format": known.mark}
    if layout == "own":
        state, packing = {}, {}
        for name, array in trained.state.items():
            state[f"state.{name}"], packing[name] = _packed(name, array, half)
        tensors |= state
        metadata = {
            "format": FORMAT,
            "version": str(VERSION),
            "model": json.dumps(_architecture(trained.model)),
            "optimizer": json.dumps(_named(trained.optimizer, OPTIMIZERS)),
            "adapt": json.dumps({name: getattr(trained, name) for name in ADAPT}),
            "state": json.dumps(packing),
            "card": json.dumps(dict(trained.card)),
        }
    write_tensors(path, tensors, metadata)


def import_weights(path: str | Path, model: Model, layout: str = "own") -> NDArray:
    """Parameters that another framework trained, or `export` wrote.

    Parameters
    ----------
    path : path
        A safetensors file with a tensor for each of the model's parameters.
    model : Model
        Of that network.
    layout : {"own", "torch", "jax"}
        How they are called and lie in the file. Moving averages, if there are any, are left out.

    Returns
    -------
    array (P,)
        Parameters theta, in the model's type.

    Raises
    ------
    InputError
        If the file cannot be read, or is of another network: names the parameter.
    """
    check_model(model)
    choice(layout, "import_weights: layout", tuple(LAYOUTS))
    tensors, _ = read_tensors(
        Path(path), "safetensors file", f"there is no file {path}: check the path"
    )
    return _collected(Path(path), tensors, model, layout)


def laid_out(model: Model, theta: NDArray, layout: str) -> Tensors:
    """theta (P,) as tensors by name, in the layout of one of `LAYOUTS`."""
    views = model.unflatten(theta)
    return {theirs: there(views[ours]) for ours, theirs, there, _ in _parameters(model, layout)}


def _collected(path: Path, tensors: Tensors, model: Model, layout: str) -> NDArray:
    theta = np.empty(model.size, model.dtype)
    views, left = model.unflatten(theta), dict(tensors)
    for ours, theirs, there, back in _parameters(model, layout):
        if theirs not in left:
            raise InputError(
                f"{path} is of another network, or in another layout than {layout!r}: it lacks "
                f"{theirs!r}, and holds {', '.join(sorted(tensors)[:4]) or 'nothing'}, ..."
            )
        found, expected = left.pop(theirs), there(views[ours]).shape
        if found.shape != expected:
            raise InputError(
                f"{path} is of another network, or in another layout than {layout!r}: {theirs!r} "
                f"has shape {found.shape}, where this network has {expected}"
            )
        if found.dtype.kind != "f" or not np.isfinite(found).all():
            raise InputError(f"{path}: {theirs!r} holds NaN, infinity or no numbers at all")
        views[ours][...] = back(found)
    if extra := [n for n in sorted(left) if not n.endswith(MOVING) and not n.startswith("state.")]:
        raise InputError(f"{path} is of another network: it holds {extra[0]!r}, and this has none")
    return theta


def _parameters(model: Model, layout: str) -> list[tuple[str, str, Change, Change]]:
    """Of each parameter: our name and theirs, and the way there and back."""
    known, found = LAYOUTS[layout], []
    flattened: Shape = ()  # of the images that the next dense layer meets as rows
    for step in model.plan.steps:
        kind = type(step.layer)
        if kind is Flatten:
            flattened = step.in_shape
        for key in step.slots:
            theirs = known.names.get(kind, {}).get(key, key)
            there, back = _ways(kind, key, flattened) if known.channels_first else (_same, _same)
            found.append((f"{step.name}.{key}", f"{step.name}.{theirs}", there, back))
        flattened = () if kind is Dense else flattened
    return found


def _same(array: NDArray) -> NDArray:
    return array


def _ways(kind: type[Layer], key: str, flattened: Shape) -> tuple[Change, Change]:
    """From channels last to channels first, and back."""
    if key != "weight" or kind not in (Conv2D, Dense):
        return _same, _same
    if kind is Conv2D:
        return lambda w: w.transpose(3, 2, 0, 1), lambda w: w.transpose(2, 3, 1, 0)
    if len(flattened) != 3:
        return np.transpose, np.transpose
    h, w, c = flattened
    return (
        lambda a: a.reshape(h, w, c, -1).transpose(3, 2, 0, 1).reshape(-1, c * h * w),
        lambda a: a.reshape(-1, c, h, w).transpose(2, 3, 1, 0).reshape(h * w * c, -1),
    )


# --------------------------------------------------------------------------------- our own files

ADAPT = ("steps", "batch", "replacement", "seed")


def read_trained(
    path: Path, tensors: Tensors, metadata: Mapping[str, str], backend: str
) -> Trained:
    """What `export` wrote in our own layout; `InputError` if the file holds something else."""
    check_version(path, metadata, VERSION)
    try:
        parts = {name: json.loads(metadata[name]) for name in PARTS}
        model = _built(parts["model"], backend)
        optimizer = _found(parts["optimizer"], OPTIMIZERS)
        state = {
            name: _unpacked(tensors[f"state.{name}"], bool(root), float(scale), model.dtype)
            for name, (root, scale) in parts["state"].items()
        }
        own = {name: array for name, array in tensors.items() if not name.startswith("state.")}
        theta = _collected(path, own, model, "own")
        return Trained(model, theta, state, optimizer, **parts["adapt"], card=parts["card"])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} does not hold what such a file must: export it again") from None


KINDS = {kind.__name__: kind for kind in LAYERS}
PARTS = ("model", "optimizer", "adapt", "state", "card")


def _architecture(model: Model) -> dict[str, Any]:
    return {
        "layers": [_named(layer, KINDS) for layer in model.layers],
        "input_shape": model.input_shape,
        "loss": model.loss,
        "reduction": model.reduction,
        "dtype": str(model.dtype),
    }


def _built(written: dict[str, Any], backend: str) -> Model:
    layers = [_found(layer, KINDS) for layer in written["layers"]]
    shape = tuple(written["input_shape"])
    return Model(layers, shape, written["loss"], written["reduction"], backend, written["dtype"])


def _named(record: Any, known: Mapping[str, Any]) -> dict[str, Any]:
    """A record as JSON: its name among those known, and its numbers."""
    for name, kind in known.items():
        if type(record) is kind:
            return {"name": name, **asdict(record)}
    raise InputError(
        f"{type(record).__name__} is no class of the library's, and a file could not bring it "
        "along: export the parameters alone, in the layout of torch or jax"
    )


def _found(written: dict[str, Any], known: Mapping[str, Any]) -> Any:
    kind = known[written["name"]]
    numbers = {n: tuple(v) if isinstance(v, list) else v for n, v in written.items() if n != "name"}
    return kind(**numbers)


def _packed(name: str, array: NDArray, half: bool) -> tuple[NDArray, tuple[bool, float]]:
    """A state's array as the file holds it; whether that is its root, and what to multiply by."""
    if not half or array.dtype.kind != "f":
        return array, (False, 1.0)
    root = name == "v"  # a mean of squares: its digits go twice as far
    values = np.sqrt(np.float64(array)) if root else np.float64(array)
    largest = float(np.abs(values).max(initial=0))
    scale = 2.0 ** (14 - math.frexp(largest)[1]) if largest else 1.0
    return (values * scale).astype(np.float16), (root, 1 / scale)


def _unpacked(array: NDArray, root: bool, scale: float, dtype: np.dtype) -> NDArray:
    if array.dtype.kind != "f":
        return array
    if not np.isfinite(array).all():
        raise InputError("the optimizer's state holds NaN or infinity: export it again")
    values = np.float64(array) * scale
    return (values**2 if root else values).astype(dtype)
