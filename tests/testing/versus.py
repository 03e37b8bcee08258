"""The same mistakes before the kit, PyTorch's gradcheck and JAX's check_grads: the tables of
minireptile/testing/versus.md.

    python -m tests.testing.versus          # the tables of the page; "all": the totals too, minutes

gradcheck and check_grads get the forward and backward passes of tests/mistakes, in NumPy, as an
autograd.Function and as a custom_vjp with callbacks: everybody is asked about the same numbers.
"""

from __future__ import annotations

import logging
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from jax.test_util import check_grads
from numpy.typing import NDArray

from minireptile.errors import InputError
from minireptile.testing import GradientError, check_float32, gradients
from minireptile.testing.subject import Subject, subject_of
from tests.mistakes import MISTAKES, Mistake

TEN = (
    "dense: dw divided by B once more",
    "dense: db not summed at all",
    "conv2d: padded before instead of behind on the way back",
    "batchnorm: variance term left out of dx",
    "batchnorm: variance over M - 1 in the backward pass only",
    "relu: passes dy where dy > 0 instead of where x > 0",
    "maxpool: all entries of a tie get the gradient",
    "cross-entropy: one-hot off by one",
    "interface: changes dy",
    "dropout: mask drawn again on the way back",
)
Checker = Callable[[Subject], str]  # what it says; "" if it passes


# ------------------------------------------------------------------------------- the checkers


def kit(s: Subject) -> str:
    try:
        gradients.prove(s, 0, "auto", None)
    except (GradientError, InputError) as error:
        return str(error)
    return ""


def as_torch(s: Subject) -> tuple[Callable[..., Any], list[Any]]:
    names = list(s.arrays)

    class Wrapped(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *tensors: Any) -> Any:
            ctx.arrays = {n: t.detach().numpy().copy() for n, t in zip(names, tensors, strict=True)}
            return torch.from_numpy(np.array(s.forward(dict(ctx.arrays))))

        @staticmethod
        def backward(ctx: Any, dy: Any) -> Any:
            found = s.backward(dy.numpy(), dict(ctx.arrays))
            return tuple(None if found[n] is None else torch.tensor(found[n]) for n in names)

    tensors = [torch.tensor(a) for a in s.arrays.values()]
    kind: Any = Wrapped
    return kind.apply, [t.requires_grad_() if t.is_floating_point() else t for t in tensors]


def gradcheck(s: Subject, **options: Any) -> str:
    function, tensors = as_torch(s)
    try:
        torch.autograd.gradcheck(function, tensors, check_undefined_grad=False, **options)
    except Exception as error:
        return str(error).strip() or type(error).__name__
    return ""


def by_check_grads(s: Subject, dtype: str = "float64") -> str:
    jax.config.update("jax_enable_x64", dtype == "float64")
    names = [n for n, a in s.arrays.items() if a.dtype.kind == "f"]

    def every(floats: Sequence[Any]) -> dict[str, NDArray]:
        doubles = (np.array(x, np.float64) for x in floats)
        return {**s.arrays, **dict(zip(names, doubles, strict=True))}

    def numbers(a: Any) -> NDArray:
        return np.asarray(a).astype(dtype)

    y = jax.ShapeDtypeStruct(np.shape(s.forward(every([s.arrays[n] for n in names]))), dtype)
    like = tuple(jax.ShapeDtypeStruct(s.arrays[n].shape, dtype) for n in names)

    @jax.custom_vjp
    def function(*floats: Any) -> Any:
        return jax.pure_callback(lambda *f: numbers(s.forward(every(f))), y, *floats)

    def backward(floats: Any, dy: Any) -> Any:
        def call(dy: Any, *floats: Any) -> Any:
            found = s.backward(np.array(dy, np.float64), every(floats))
            return tuple(numbers(found[n]) for n in names)

        return jax.pure_callback(call, like, dy, *floats)

    function.defvjp(lambda *floats: (function(*floats), floats), backward)
    try:
        at = tuple(jnp.asarray(s.arrays[n], dtype) for n in names)
        check_grads(function, at, order=1, modes=["rev"])
    except Exception as error:
        return str(error).strip() or type(error).__name__
    return ""


CHECKERS: dict[str, Checker] = {
    "the kit": kit,
    "gradcheck": gradcheck,
    "its fast mode": partial(gradcheck, fast_mode=True),
    "check_grads": by_check_grads,
    "in float32": partial(by_check_grads, dtype="float32"),
}


# --------------------------------------------------------------------------------- the subjects


@contextmanager
def _recorded() -> Iterator[list[Subject]]:
    """What is handed to `check_gradients` by the modules of tests/mistakes."""
    seen: list[Subject] = []

    def record(what: Any, *inputs: Any, **more: Any) -> None:
        seen.append(subject_of(what, inputs, more.get("params", ()), more.get("name"), 0))

    modules = [m for n, m in sys.modules.items()
               if n.startswith("tests.mistakes") and hasattr(m, "check_gradients")]  # fmt: skip
    before = [vars(m)["check_gradients"] for m in modules]
    try:
        for m in modules:
            vars(m)["check_gradients"] = record
        yield seen
    finally:
        for m, old in zip(modules, before, strict=True):
            vars(m)["check_gradients"] = old


def subjects(mistake: Mistake) -> tuple[Subject, Subject] | None:
    """The wrong and the right version, of a mistake that goes through `check_gradients`."""
    found = []
    for make in (mistake.make, mistake.right):
        with _recorded() as seen, suppress(Exception):  # a mistake's own check expects an answer
            make()
        if not seen:
            return None
        found.append(seen[-1])
    return found[0], found[1]


def asked(checker: Checker, s: Subject) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return checker(s)


# ---------------------------------------------------------------------------------- the tables


def verdict(checker: Checker, wrong: Subject, right: Subject) -> str:
    said = asked(checker, wrong)
    lines = said.count("\n") + 1
    words = f"found, {lines} line{'s' * (lines > 1)}" if said else "**passes**"
    return words + ("; the right version fails too" if asked(checker, right) else "")


def point(said: str) -> str:
    """The line of the kit's report that says most: a cause, or else what is wrong."""
    lines = [line for line in said.split("\n")[1:] if not line.startswith("  note")]
    first = [line.strip() for line in lines]
    causes = [line for line, raw in zip(first, lines, strict=True)
              if raw.startswith("    ") and not line.startswith("worst at")]  # fmt: skip
    return (causes or first)[0]


def table_of_ten() -> Iterator[str]:
    by_name = {m.name: m for m in MISTAKES}
    yield "| mistake | the kit says | " + " | ".join(list(CHECKERS)[1:]) + " |"
    yield "|---" * (len(CHECKERS) + 1) + "|"
    for name in TEN:
        pair = subjects(by_name[name])
        assert pair
        wrong, right = pair
        assert not asked(kit, right)
        cells = [point(asked(kit, wrong))]
        cells += [
            verdict(checker, wrong, right) for n, checker in CHECKERS.items() if n != "the kit"
        ]
        yield f"| {name} | {' | '.join(cells)} |"


def batchnorm(M: int) -> Subject:
    """With M - 1 in its backward pass."""

    def forward(x: NDArray) -> NDArray:
        c = x - x.mean(0)
        return c * ((c**2).mean(0) + 1e-5) ** -0.5

    def backward(dy: NDArray, x: NDArray) -> NDArray:
        c = x - x.mean(0)
        rstd = ((c**2).sum(0) / (M - 1) + 1e-5) ** -0.5
        xhat = c * rstd
        return rstd * (dy - dy.mean(0) - xhat * (dy * xhat).mean(0))

    x = np.random.default_rng(0).standard_normal((M, 1))
    return subject_of((forward, backward), (x,), (), "batch norm", 0)


def table_of_sizes() -> Iterator[str]:
    yield "| rows M | " + " | ".join(CHECKERS) + " |"
    yield "|---" * (len(CHECKERS) + 1) + "|"
    for M in (6, 100, 1000):
        s = batchnorm(M)
        said = [asked(checker, s) for checker in CHECKERS.values()]
        yield f"| {M} | " + " | ".join("found" if words else "**passes**" for words in said) + " |"


def layer_norm(x: Any) -> Any:
    c = x - x.mean(-1, keepdims=True)
    return c * ((c**2).mean(-1, keepdims=True) + 1e-5) ** -0.5


def layer_norm_backward(dy: Any, x: Any, eps: float) -> Any:
    c = x - x.mean(-1, keepdims=True)
    r = ((c**2).mean(-1, keepdims=True) + eps) ** -0.5
    xhat = c * r
    return r * (dy - dy.mean(-1, keepdims=True) - xhat * (dy * xhat).mean(-1, keepdims=True))


class LayerNorm(torch.autograd.Function):
    """In float32, as a kernel for a GPU would be."""

    eps = 1e-5

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return layer_norm(x)

    @staticmethod
    def backward(ctx: Any, dy: Any) -> Any:
        return layer_norm_backward(dy, ctx.saved_tensors[0], LayerNorm.eps)


def in_float32() -> Iterator[tuple[str, Callable[[float], str]]]:
    """Who is asked about a layer normalisation in float32, by the eps of its backward pass."""
    x = np.random.default_rng(0).standard_normal((16, 64)).astype(np.float32)

    def ours(eps: float) -> str:
        backward = lambda dy, x: layer_norm_backward(dy, x, np.float32(eps))  # noqa: E731
        try:
            check_float32(backward, layer_norm, x, terms=64)
        except GradientError as error:
            return str(error)
        return ""

    def theirs(backward_eps: float, **options: Any) -> str:
        LayerNorm.eps = backward_eps
        try:
            kind: Any = LayerNorm
            torch.autograd.gradcheck(kind.apply, torch.tensor(x, requires_grad=True), **options)
        except Exception as error:
            return str(error)
        return ""

    def jaxs(eps: float) -> str:
        jax.config.update("jax_enable_x64", False)
        function = jax.custom_vjp(layer_norm)
        function.defvjp(lambda x: (layer_norm(x), x), lambda x, dy: (
            layer_norm_backward(dy, x, eps),))  # fmt: skip
        try:
            check_grads(function, (jnp.asarray(x),), order=1, modes=["rev"])
        except AssertionError as error:
            return str(error)
        return ""

    yield "`check_float32(..., terms=64)`", ours
    yield "`gradcheck(f, x)`", theirs
    for options in ({"eps": 1e-3, "atol": 1e-3}, {"eps": 1e-2, "atol": 1e-2, "rtol": 1e-2}):
        written = ", ".join(f"{n}={v:g}" for n, v in options.items())
        yield f"`gradcheck(f, x, {written})`", partial(theirs, **options)
    yield "`check_grads(f, (x,), order=1, modes=['rev'])`", jaxs


def table_of_float32() -> Iterator[str]:
    yield "| | right | eps 1e-4 for 1e-5 in the backward pass |"
    yield "|---|---|---|"
    for name, check in in_float32():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            right, wrong = check(1e-5), check(1e-4)
        cells = ["**fails**" if right else "passes", "found" if wrong else "**passes**"]
        yield f"| {name} | {' | '.join(cells)} |"


def table_of_all() -> Iterator[str]:
    pairs = {m.name: pair for m in MISTAKES if (pair := subjects(m))}
    yield f"| of {len(pairs)} | missed | right versions that fail | seconds |"
    yield "|---|---|---|---|"
    for name, checker in CHECKERS.items():
        start = time.perf_counter()
        missed = [n for n, (wrong, _) in pairs.items() if not asked(checker, wrong)]
        alarms = [n for n, (_, right) in pairs.items() if asked(checker, right)]
        seconds = time.perf_counter() - start
        yield f"| {name} | {len(missed)} | {len(alarms)} | {seconds:.0f} |"
        print(*(f"{name} misses: {n}" for n in missed), sep="\n", file=sys.stderr)
        print(*(f"{name}, false alarm: {n}" for n in alarms), sep="\n", file=sys.stderr)


TABLES = {"ten": table_of_ten, "sizes": table_of_sizes, "float32": table_of_float32}


def words(row: str) -> str:
    """A row without what differs from machine to machine: last digits, the length of messages."""
    return re.sub(r"\d+\.\d+|\d+ lines?", "0", row)


if __name__ == "__main__":
    logging.disable(logging.ERROR)  # JAX logs what a callback raises
    torch.set_num_threads(1)
    for make in [*TABLES.values(), *([table_of_all] if "all" in sys.argv else [])]:
        print(*make(), sep="\n", end="\n\n", flush=True)
