"""Arrays of other frameworks, as NumPy's and back. None is imported: who has such an array has."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arguments import array_of

__tracebackhide__ = True
# The gap between 1 and the next number of a type.
EPS = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2.0**-23, "float64": 2.0**-52}


def is_array(value: Any) -> bool:
    """Whether an input is numbers to look at; any other, such as eps or a shape, is a setting."""
    if isinstance(value, np.ndarray | list):
        return True
    return hasattr(value, "dtype") and hasattr(value, "shape") and not isinstance(value, np.generic)


def on_device(value: Any) -> bool:
    """Whether it is CuPy's, or a tensor on a GPU."""
    return hasattr(value, "__cuda_array_interface__")


def host(value: Any) -> Any:
    """An array of PyTorch, CuPy or JAX as a NumPy array, and lists and tuples of them too; anything
    else as it is. NumPy has no bfloat16: it becomes float32."""
    if isinstance(value, tuple | list) and any(map(is_array, value)):
        return tuple(map(host, value))
    if hasattr(value, "detach"):
        value = value.detach().cpu().resolve_conj().resolve_neg()
        return (value.float() if dtype_of(value) == "bfloat16" else value).numpy()
    if on_device(value):
        return value.get()
    if _framework(value) == "jax":
        value = np.array(value)
    is_brief = isinstance(value, np.ndarray) and value.dtype.name == "bfloat16"
    return value.astype(np.float32) if is_brief else value


def double(value: Any, what: str) -> NDArray:
    """A new array, of floats in double precision, so that a check is as sharp as can be."""
    array = array_of(host(value), what)
    return array.astype(np.float64) if array.dtype.kind == "f" else array


def dtype_of(value: Any) -> str:
    """The name of an array's type, in any framework."""
    dtype = value.dtype if hasattr(value, "dtype") else np.asarray(value).dtype
    return str(dtype).rpartition(".")[-1]


def like(value: Any, array: NDArray, dtype: str) -> Any:
    """A new array of the type, of value's framework and on its device."""
    framework = _framework(value)
    if framework == "torch":
        torch = sys.modules["torch"]
        return torch.from_numpy(np.array(array)).to(value.device, getattr(torch, dtype))
    if framework == "jax":
        return sys.modules["jax"].numpy.array(array, dtype)
    if on_device(value):
        return sys.modules["cupy"].array(array, dtype)
    return np.array(array, dtype)  # bfloat16 too, where ml_dtypes made the array


def _framework(value: Any) -> str:
    name = type(value).__module__.partition(".")[0]
    return "jax" if name == "jaxlib" else name
