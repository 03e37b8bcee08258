"""The host as a device: NumPy's arrays, and calls that are made at once."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from math import prod
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray


class Host:
    """What the walk asks of a `Device`, in NumPy."""

    name = "host"

    def owns(self, array: object) -> bool:
        return isinstance(array, np.ndarray)

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray:
        return np.empty(shape, dtype)

    def upload(self, host: NDArray) -> NDArray:
        return np.array(host, order="C")

    def view(self, array: NDArray, start: int, shape: tuple[int, ...]) -> NDArray:
        return array[:, start : start + prod(shape)].reshape(len(array), *shape)

    def capture(self, call: Callable[[], None]) -> Callable[[], None]:
        return call

    def join(self) -> None:
        pass

    def errors(self) -> AbstractContextManager[None]:
        return nullcontext()


HOST: Any = Host()
