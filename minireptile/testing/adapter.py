"""A function of another framework behind NumPy arrays; what goes wrong in it, in a sentence."""

from __future__ import annotations

import inspect
import re
import sysconfig
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..checks import whole
from ..errors import InputError, require
from ..rng import SEEDS
from .foreign import double, is_array
from .identities import IdentityError, Operator
from .report import Fault

__tracebackhide__ = True
LONGEST = 240  # characters of a framework's message


@dataclass(frozen=True, eq=False)
class Adapter:
    """A framework's function of NumPy arrays; `from_torch` and `from_jax` make one.

    `forward`, `backward` and `twice` take the inputs and, behind them, all parameters; what is no
    array is handed on as it is.
    """

    name: str
    signature: inspect.Signature | None  # its parameters name the inputs
    params: dict[str, Any]  # of a module: the framework's arrays by name
    forward: Callable[..., NDArray]  # (*args)
    backward: Callable[..., list[Any]]  # (dy, *args): a gradient or None for each
    # (c, v, *args): for each array of floats, the gradient of <c, y + y^2/2> where v is None, else
    # its derivative along v, which has an array for each array of floats.
    twice: Callable[..., list[NDArray]]

    def __call__(self, *args: Any) -> NDArray:
        """The output, for use as a reference."""
        return self.forward(*args)

    def hessian(self, *inputs: Any, seed: int = 0) -> tuple[Operator, Callable, NDArray]:
        """What `check_hvp` takes, for a function that is differentiated twice.

        Theta is all floats of the inputs and parameters in a row. The loss is <c, y + y^2/2> with a
        random c, so that its gradient differs from entry to entry and depends on the output too:
        a second derivative is checked along the inputs and along the upstream gradient.

        Parameters
        ----------
        *inputs : arrays
            As of `check_gradients`.
        seed : int
            Of c.

        Returns
        -------
        tuple
            grad, hvp and theta.

        Raises
        ------
        InputError
            If there is nothing to differentiate.
        """
        every = (*inputs, *self.params.values())
        args = [double(x, f"input {i}") if is_array(x) else x for i, x in enumerate(every)]
        floats = [i for i, x in enumerate(args) if is_array(x) and x.dtype.kind == "f"]
        if not floats:
            raise InputError("there is nothing to differentiate: no input is an array of floats")
        theta = np.concatenate([args[i].ravel() for i in floats])
        ends = np.cumsum([args[i].size for i in floats])[:-1]
        c = np.random.default_rng(whole(seed, "seed", 0, SEEDS))
        weights = c.standard_normal(np.shape(self.forward(*args)))

        def split(row: NDArray) -> list[NDArray]:
            pieces = np.split(row, ends)
            return [p.reshape(args[i].shape) for i, p in zip(floats, pieces, strict=True)]

        def run(row: NDArray, v: NDArray | None) -> NDArray:
            at = dict(zip(floats, split(row), strict=True))
            every = [at.get(i, x) for i, x in enumerate(args)]
            try:
                found = self.twice(weights, None if v is None else split(v), *every)
            except Fault as fault:
                raise IdentityError(f"{self.name}: {fault}") from None
            return np.concatenate([np.ravel(piece) for piece in found])

        return (lambda row: run(row, None)), run, theta


def all_complex(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """With all floats complex where one array is: of what is kept fixed, too."""
    arrays = [x for x in args if isinstance(x, np.ndarray)]
    if not any(x.dtype.kind == "c" for x in arrays):
        return args
    floats = [isinstance(x, np.ndarray) and x.dtype.kind == "f" for x in args]
    return tuple(x.astype(complex) if f else x for x, f in zip(args, floats, strict=True))


def framework(module: str, name: str, oldest: tuple[int, int]) -> ModuleType:
    """The framework, if it is there and not too old."""
    found = require(module, None)
    version = str(getattr(found, "__version__", "0"))
    parts = tuple(map(int, re.findall(r"\d+", version)[:2]))
    if parts < oldest:
        raise InputError(
            f"{name} {'.'.join(map(str, oldest))} or newer is needed, and this is {version}: "
            f"pip install --upgrade {module}"
        )
    return found


def name_of(function: Any) -> str:
    """What to call a function, in a wrapper or not."""
    inner = getattr(function, "func", function)  # of functools.partial
    return str(getattr(inner, "__name__", type(inner).__name__))


def no_output(value: Any, name: str, kind: str) -> InputError:
    """What to say of an output that is no array."""
    if value is None:
        return InputError(f"{name} returns None: it must return its output, {kind}")
    if isinstance(value, Sequence | dict) and not isinstance(value, str):
        what = f"a {type(value).__name__} of {len(value)}"
        return InputError(
            f"{name} returns {what}: check one output at a time, such as by "
            "lambda *inputs: function(*inputs)[0]"
        )
    return InputError(f"{name} returns an object of type {type(value).__name__}: {kind} is needed")


def said(error: Exception, failures: Sequence[tuple[str, str]]) -> str:
    """What a framework says of a backward pass, shorter where it is a usual mistake: `failures` are
    patterns and what stands for them."""
    for pattern, words in failures:
        if found := re.search(pattern, str(error), re.DOTALL):
            return found.expand(words)
    return f"backward raises {told(error)}"


def told(error: BaseException) -> str:
    """An exception in a sentence: its kind, its first line, and where in the user's code it was."""
    lines = [line for line in str(error).splitlines() if line.strip()] or ["no message"]
    first = lines[0].strip().rstrip(".")
    first = first if len(first) <= LONGEST else first[: LONGEST - 3] + "..."
    code = [f for f in traceback.extract_tb(error.__traceback__) if _is_users(f.filename)]
    at = f" ({Path(code[-1].filename).name}, line {code[-1].lineno})" if code else ""
    return f"{type(error).__name__}: {first}{at}"


def _is_users(file: str) -> bool:
    packages = (str(Path(__file__).parent), sysconfig.get_paths()["stdlib"])
    installed = "site-packages" in file or "dist-packages" in file
    return not (installed or file.startswith((*packages, "<")))
