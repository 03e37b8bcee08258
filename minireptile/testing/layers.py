"""The product's own layers and losses through the kit: what ``minireptile check`` runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..backend import kernels
from ..checks import shown
from ..errors import InputError
from ..layers import LAYERS, BatchNorm, Conv2D, Dense, Flatten, Layer, MaxPool, Tanh
from ..model import Model
from ..plan import LOSSES
from .gradients import check_gradients
from .identities import IdentityError, check_adjoint, check_hvp
from .report import GradientError, Report
from .subject import subject_of

T, B = 2, 3


class Row(NamedTuple):
    """One gradient or identity of one case: a line of the table."""

    layer: str
    gradient: str
    shape: tuple[int, ...]
    backend: str
    method: str
    error: float
    report: Report


def examples() -> Iterator[tuple[Layer, tuple[int, ...]]]:
    """A few small cases of every layer: the layer, and the shape of one example.

    What is not named here is made without arguments.
    """
    named: list[tuple[Layer, tuple[int, ...]]] = [
        (Conv2D(3, 3, stride=2), (6, 5, 2)),
        (Conv2D(2, (2, 3), padding="valid"), (4, 5, 2)),
        (Conv2D(2, 5, bias=False), (3, 3, 2)),
        (Dense(4), (5,)),
        (Dense(3, bias=False), (2,)),
        (BatchNorm(), (3, 2, 4)),
        (BatchNorm(), (5,)),
        (MaxPool(2), (5, 4, 3)),
        (MaxPool(3, stride=2, padding="valid"), (7, 5, 2)),
    ]
    yield from named
    for kind in LAYERS:
        if kind not in {type(layer) for layer, _ in named}:
            yield kind(), (5, 4, 3)


def check_layers(name: str | None = None, backend: str = "numpy") -> list[Row]:
    """Check every layer, every loss and a model's Hessian, or the one of that name.

    All gradients by the complex step; of linear layers, besides, that backward is the adjoint.

    Parameters
    ----------
    name : str, optional
        Such as "Conv2D", "squared_error" or "Model".
    backend : str
        Whose kernels.

    Returns
    -------
    list of Row
        A gradient or identity of a case each: layer, gradient, shape, backend, method, error, and
        the report of the check.

    Raises
    ------
    InputError
        If there is no such layer or backend.
    """
    kernels(backend)
    known = {type(layer).__name__ for layer, _ in examples()}
    choices = [*sorted(known), *LOSSES, "Model"]
    if name is not None and not (isinstance(name, str) and name in choices):
        raise InputError(
            f"there is no layer {shown(name)} to check: choose one of {', '.join(choices)}"
        )
    rng = np.random.default_rng(0)
    rows: list[Row] = []
    for layer, shape in examples():
        kind = type(layer).__name__
        if name in (None, kind):
            x = rng.standard_normal((T, B, *shape))
            rows += _gradient_rows(kind, backend, layer, x, name=repr(layer))
            if isinstance(layer, Flatten) or not getattr(layer, "bias", True):
                rows.append(_adjoint_row(kind, backend, layer, x))
    for loss in LOSSES:
        if name in (None, loss):
            out = rng.standard_normal((T, B, 4))
            targets = rng.integers(0, 4, (T, B)) if "cross" in loss else rng.random((T, B, 4))
            functions = loss_functions(loss, targets, backend)
            rows += _gradient_rows(loss, backend, functions, out, name=loss)
    if name in (None, "Model"):
        rows.append(_hvp_row(backend))
    return rows


def _gradient_rows(kind: str, backend: str, subject: Any, *inputs: NDArray, name: str) -> list[Row]:
    try:
        report = check_gradients(subject, *inputs, backend=backend, name=name)
    except GradientError as error:
        report = error.report
    known = dict(report.errors)
    known |= {f.gradient: np.inf for f in report.findings if f.gradient not in known}
    return [
        Row(kind, n, report.shapes.get(n, ()), backend, report.method, error, report)
        for n, error in known.items()
    ]


def _identity_row(
    kind: str, what: str, shape: tuple[int, ...], backend: str, check: Callable[[], float]
) -> Row:
    report = Report(kind, method="identity")
    try:
        error = check()
    except IdentityError as failure:
        report.add("identity", what, str(failure))
        error = np.inf
    return Row(kind, what, shape, backend, report.method, error, report)


def _adjoint_row(kind: str, backend: str, layer: Layer, x: NDArray) -> Row:
    """A layer without an offset is linear in x, and its backward pass is the transpose."""
    s = subject_of(layer, (x,), (), None, 0, backend)

    def check() -> float:
        return check_adjoint(
            lambda v: s.forward({**s.arrays, "x": v}),
            lambda dy: s.backward(dy, s.arrays)["x"],
            x, s.forward(s.arrays), name=repr(layer),
        )  # fmt: skip

    return _identity_row(kind, "adjoint", x.shape, backend, check)


def _hvp_row(backend: str) -> Row:
    """Hessian-vector products of a model with every kind of layer that has parameters."""
    layers = [Conv2D(3, 3, stride=2), BatchNorm(), Tanh(), Flatten(), Dense(3)]
    model = Model(layers, (6, 5, 2), backend=backend, dtype="float64")
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((B, 6, 5, 2)), rng.integers(0, 3, B)
    theta = rng.standard_normal(model.size)

    def check() -> float:
        return check_hvp(
            lambda t: model.loss_and_grad(t, x, y)[1],
            lambda t, v: model.hvp(t, x, y, v),
            theta,
            loss=lambda t: float(model.loss_and_grad(t, x, y)[0]),
        )

    return _identity_row("Model", "hvp", theta.shape, backend, check)


def loss_functions(loss: str, targets: NDArray, backend: str = "numpy") -> tuple[Any, Any]:
    """A loss kernel, as a mean over the mini-batch: the pair of functions that the kit takes."""

    def run(out: NDArray) -> tuple[NDArray, NDArray]:
        k = kernels(backend if out.dtype.kind == "f" else "numpy")
        value, gradient = np.empty(out.shape[0], out.dtype), np.empty_like(out)
        getattr(k, loss)(value, gradient, out, targets, 1 / out.shape[1])
        return value, gradient

    def forward(out: NDArray) -> NDArray:
        return run(out)[0]

    def backward(dloss: NDArray, out: NDArray) -> NDArray:
        return dloss[:, None, None] * run(out)[1]

    return forward, backward


def table(rows: list[Row]) -> str:
    """Set out what `check_layers` found.

    Parameters
    ----------
    rows : list of Row
        As it returns them.

    Returns
    -------
    str
        Lines of layer, gradient, shape, backend, method, error, verdict; then what is wrong.

    Raises
    ------
    InputError
        If they are anything else.
    """
    if not isinstance(rows, Sequence) or not all(isinstance(row, Row) for row in rows):
        raise InputError(f"rows must be those that check_layers returns, not {shown(rows)}")
    cells = [("layer", "gradient", "shape", "backend", "by", "error", "")]
    for row in rows:
        bad = any(f.gradient in (row.gradient, "") for f in row.report.findings)
        verdict = "WRONG" if bad else "ok"
        shape = "x".join(map(str, row.shape))
        numbers = row.backend, row.method, f"{row.error:.1e}"
        cells.append((row.layer, row.gradient, shape, *numbers, verdict))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in cells]
    failures = dict.fromkeys(str(row.report) for row in rows if not row.report.passed)
    return "\n".join([*lines, *failures])
