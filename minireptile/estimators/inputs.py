"""X and y as scikit-learn would have them, and its errors and warnings where it is loaded."""

from __future__ import annotations

import sys
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError


def table(X: Any) -> NDArray:
    """X as (n, features) of finite numbers, as scikit-learn would have it."""
    if hasattr(X, "toarray"):
        raise InputError("sparse X is not supported: pass X.toarray()")
    x = np.asarray(X)
    if x.dtype.kind == "c":
        raise InputError("Complex data not supported: X must hold real numbers")
    if x.dtype.kind not in "biuf":
        x = x.astype(np.float64)
    if x.ndim < 2:
        raise InputError(
            f"X must be 2-D, (n, features), and has shape {x.shape}. Reshape your data: "
            "X.reshape(1, -1) if it is one example"
        )
    if not len(x):
        raise InputError(f"Found array with 0 sample(s) (shape={x.shape}), and X needs some")
    if not x.size:
        raise InputError(
            f"Found array with 0 feature(s) (shape={x.shape}) while a minimum of 1 is required."
        )
    if not np.isfinite(x).all():
        raise InputError("X holds NaN or infinity: clean the data first")
    return x.reshape(len(x), -1)


def finite(y: NDArray) -> None:
    if not np.isfinite(y).all():
        raise InputError("Input y contains NaN or infinity: clean the data first")


def column(y: NDArray) -> NDArray:
    """Labels (n,) from (n, 1), with scikit-learn's warning."""
    if y.ndim != 2 or y.shape[1] != 1:
        return y
    warnings.warn(
        "A column-vector y was passed when a 1d array was expected",
        kind_of("DataConversionWarning", UserWarning), stacklevel=4,
    )  # fmt: skip
    return y[:, 0]


def kind_of(name: str, otherwise: type) -> Any:
    """scikit-learn's error or warning of that name, if it is loaded."""
    return getattr(sys.modules.get("sklearn.exceptions"), name, otherwise)
