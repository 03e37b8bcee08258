"""Functions of PyTorch: autograd.Function, custom operators, modules, and whatever is made of them.

PyTorch is imported when one is adapted.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..checks import shown
from ..errors import InputError
from .adapter import Adapter, all_complex, framework, name_of, no_output, said, told
from .foreign import host
from .report import Fault
from .subject import signature_of

__tracebackhide__ = True
OLDEST = (2, 1)


def from_torch(function: Any, device: str = "cpu") -> Adapter:
    """A function of PyTorch, as `check_gradients` takes it.

    Parameters
    ----------
    function : callable
        Takes tensors, and anything else as it stands; returns a tensor. The ``apply`` of an
        ``autograd.Function``, a custom operator, a module, or a function that is made of them. A
        module's parameters are checked too, as copies: the module stays as it is.
    device : str
        Where the tensors are, such as "cuda".

    Returns
    -------
    Adapter
        For `check_gradients`, `check_float32` and, by its method ``hessian``, `check_hvp`.

    Raises
    ------
    InputError
        If that is no function, or PyTorch too old or without the device. What the function does
        wrong, the checks tell.
    MissingPackage
        If there is no PyTorch.

    Examples
    --------
    >>> from minireptile.testing import check_gradients, from_torch
    >>> check_gradients(from_torch(torch.tanh), [0.5, -1.0]).passed  # doctest: +SKIP
    True
    """
    torch = framework("torch", "PyTorch", OLDEST)
    Function, Tensor = torch.autograd.Function, torch.Tensor
    if isinstance(function, type):
        kind: Any = function
        if not issubclass(kind, Function):
            raise InputError(f"{kind.__name__} is a class: give an instance of it")
        function = kind.apply
    if not callable(function):
        raise InputError(f"from_torch takes a function or a module, not {shown(function)}")
    try:
        torch.empty(0, device=device)
    except Exception as error:
        raise InputError(f"PyTorch has no device {shown(device)} here: {told(error)}") from None

    name, signature = _name_and_signature(torch, function)
    params, run = _of_module(torch, function) if isinstance(function, torch.nn.Module) else (
        {}, function)  # fmt: skip

    def lent(args: tuple[Any, ...]) -> list[Any]:
        """Arrays as tensors of their own."""
        args = all_complex(args)
        return [torch.tensor(x, device=device) if isinstance(x, np.ndarray) else x for x in args]

    def back(args: tuple[Any, ...], tensors: list[Any]) -> None:
        """What a function did to its tensors, done to our arrays."""
        for x, tensor in zip(args, tensors, strict=True):
            if isinstance(x, np.ndarray) and not tensor.is_complex():
                x[...] = host(tensor)

    def called(tensors: list[Any]) -> Any:
        y = run(*tensors)
        if not isinstance(y, Tensor):
            raise no_output(y, name, "a tensor")
        if not (y.is_floating_point() or y.is_complex()):
            raise InputError(f"{name} returns {y.dtype}, which has no gradient")
        return y

    def forward(*args: Any) -> NDArray:
        tensors = lent(args)
        try:
            with torch.no_grad(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # casts of complex numbers, which is_analytic sees
                y = np.array(host(called(tensors)))  # a copy: it may be an input itself
            back(args, tensors)
            return y
        except InputError:
            raise
        except Exception as error:
            kinds = dict.fromkeys(str(x.dtype) for x in args if isinstance(x, np.ndarray))
            raise InputError(f"{name} of {', '.join(kinds)} raises {told(error)}") from None

    def graph(tensors: list[Any]) -> tuple[list[Any], Any]:
        """Those that take a gradient, and the output that goes back to them."""
        into = [t.requires_grad_() for t in tensors if _is_float(t)]
        try:
            y = called(tensors)
        except Exception as error:
            raise Fault(f"forward of inputs that need a gradient raises {told(error)}") from None
        if not y.requires_grad:
            raise Fault("the output is cut off from the inputs, it has no grad_fn: something on "
                        "the way detaches (.detach(), .data, .item(), NumPy, a new tensor, "
                        "no_grad), or no backward pass is registered")  # fmt: skip
        return into, y

    def backward(dy: NDArray, *args: Any) -> list[Any]:
        tensors = lent(args)
        upstream = torch.tensor(dy, device=device)
        with torch.enable_grad():
            inputs = [t.detach() if isinstance(t, Tensor) else t for t in tensors]
            into, y = graph(inputs)
            try:
                found = iter(torch.autograd.grad(y, into, upstream, allow_unused=True))
            except Exception as error:
                raise Fault(said(error, FAILURES)) from None
        back((dy, *args), [upstream, *tensors])
        gradients = [next(found) if _is_float(t) else None for t in inputs]
        return [None if g is None else host(g) for g in gradients]

    def twice(c: NDArray, v: list[NDArray] | None, *args: Any) -> list[NDArray]:
        with torch.enable_grad():
            into, y = graph(lent(args))
            again = partial(torch.autograd.grad, inputs=into, allow_unused=True)
            try:
                loss = (torch.from_numpy(c).to(y) * (y + y * y / 2)).sum()
                found = again(loss, create_graph=v is not None)
                if v is not None:
                    slope = sum(
                        (g * torch.from_numpy(part).to(g)).sum()
                        for g, part in zip(found, v, strict=True) if g is not None
                    )  # fmt: skip
                    found = again(slope) if slope.requires_grad else [None] * len(into)
                    if all(g is None for g in found):
                        raise Fault(
                            "autograd sees no path from the gradient to the inputs: backward works "
                            "outside of it (once_differentiable, .data, NumPy), so that there is "
                            "no second derivative"
                        )
                zeros = map(torch.zeros_like, into)
                return [host(z if g is None else g) for g, z in zip(found, zeros, strict=True)]
            except Fault:
                raise
            except Exception as error:
                raise Fault(said(error, FAILURES)) from None

    return Adapter(name, signature, params, forward, backward, twice)


def _is_float(x: Any) -> bool:
    return hasattr(x, "is_floating_point") and x.is_floating_point()


def _name_and_signature(torch: Any, function: Any) -> tuple[str, inspect.Signature | None]:
    owner = getattr(function, "__self__", None)
    if isinstance(owner, type) and issubclass(owner, torch.autograd.Function):
        made: Any = owner
        plain = made.setup_context is torch.autograd.Function.setup_context
        forward = partial(made.forward, None) if plain else made.forward  # with ctx, or without
        return made.__name__, signature_of(forward)
    if isinstance(function, torch.nn.Module):
        return type(function).__name__, signature_of(function.forward)
    made = getattr(function, "_init_fn", None)  # by custom_op
    if made is not None:
        return name_of(made), signature_of(made)
    schema = getattr(getattr(function, "default", function), "_schema", None)  # torch.ops
    if schema is not None:
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        return str(schema.name), inspect.Signature(
            [inspect.Parameter(a.name, kind) for a in schema.arguments if not a.kwarg_only]
        )
    return name_of(function), signature_of(function)


def _of_module(torch: Any, module: Any) -> tuple[dict[str, Any], Callable[..., Any]]:
    """What a module learns, and the module as a function of its inputs and that."""
    every = dict(module.named_parameters()) | dict(module.named_buffers())
    if any(map(torch.nn.parameter.is_lazy, every.values())):
        raise InputError(
            f"{type(module).__name__} has parameters without a shape yet: call it once before"
        )
    learned = {n: p for n, p in module.named_parameters() if p.requires_grad and _is_float(p)}
    kept = {n: t for n, t in every.items() if n not in learned}

    def run(*args: Any) -> Any:
        cut = len(args) - len(learned)
        tensors = [x for x in args if isinstance(x, torch.Tensor)]
        wide = [t.dtype for t in tensors if t.dtype in (torch.complex128, torch.float64)]
        # Copies, since a forward pass may move a buffer, such as running means.
        rest = {n: t.detach().clone().to(tensors[0].device) for n, t in kept.items()}
        rest = {n: t.to(wide[0]) if wide and _is_float(t) else t for n, t in rest.items()}
        now = rest | dict(zip(learned, args[cut:], strict=True))
        return torch.func.functional_call(module, now, args[:cut])

    return learned, run


FAILURES = (
    (r"modified by an inplace operation: (\[.*?\](?:, which is .*?)?), is at version",
     r"a tensor that was kept for the backward pass is changed in place afterwards (\1): keep or "
     "change a copy"),
    (r"returned an incorrect number of gradients \(expected (\d+), got (\d+)\)",
     r"backward returns \2 gradients for \1 inputs: return one for each, None for one without"),
)  # fmt: skip
