"""Custom operations of PyTorch as people write them, right and wrong in one way each.

python -m tests.testing.torch_ops       # what the kit and gradcheck say to each
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, library
from torch.autograd import Function

from minireptile.errors import InputError
from minireptile.testing import GradientError, check_gradients, from_torch

rng = np.random.default_rng(0)
torch.set_num_threads(1)  # these are tiny


@dataclass(frozen=True)
class Case:
    """One version of an operation: `points_at` is what the kit must say, "" if it is right."""

    name: str
    function: Callable[..., Any]
    inputs: tuple[Any, ...]
    points_at: str = ""


# ------------------------------------------------- layer normalisation, as an autograd.Function


class LayerNorm(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        rstd = ((centred**2).mean(-1, keepdim=True) + eps) ** -0.5
        ctx.save_for_backward(centred * rstd, rstd, gamma)
        return gamma * centred * rstd + beta

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        xhat, rstd, gamma = ctx.saved_tensors
        d = dy * gamma
        mean = d.mean(-1, keepdim=True) + xhat * (d * xhat).mean(-1, keepdim=True)
        return rstd * (d - mean), (dy * xhat).sum(0), dy.sum(0), None


class LayerNormNoVariance(LayerNorm):
    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        xhat, rstd, gamma = ctx.saved_tensors
        d = dy * gamma
        return rstd * (d - d.mean(-1, keepdim=True)), (dy * xhat).sum(0), dy.sum(0), None


class LayerNormUnbiased(LayerNorm):
    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        n = dy.shape[-1]
        dx, dgamma, dbeta, _ = LayerNorm.backward(ctx, dy)
        return dx * ((n - 1) / n) ** 0.5, dgamma, dbeta, None


# --------------------------------------------- SwiGLU, as a custom operator with register_autograd


@library.custom_op("minireptile_tests::swiglu", mutates_args=())
def swiglu(x: Tensor, gate: Tensor) -> Tensor:
    return x * gate * torch.sigmoid(gate)


def _swiglu_backward(ctx: Any, dy: Tensor) -> Any:
    x, gate = ctx.saved_tensors
    s = torch.sigmoid(gate)
    return dy * gate * s, dy * x * (s + gate * s * (1 - s))


swiglu.register_autograd(
    _swiglu_backward, setup_context=lambda ctx, inputs, output: ctx.save_for_backward(*inputs)
)


@library.custom_op("minireptile_tests::swiglu_half", mutates_args=())
def swiglu_half(x: Tensor, gate: Tensor) -> Tensor:
    return x * gate * torch.sigmoid(gate)


def _swiglu_half_backward(ctx: Any, dy: Tensor) -> Any:
    x, gate = ctx.saved_tensors
    s = torch.sigmoid(gate)
    return dy * gate * s, dy * x * s  # the product rule's second half forgotten


swiglu_half.register_autograd(
    _swiglu_half_backward, setup_context=lambda ctx, inputs, output: ctx.save_for_backward(*inputs)
)


@library.custom_op("minireptile_tests::bare", mutates_args=())
def bare(x: Tensor) -> Tensor:
    return x * x


# ---------------------------------------------------------------- RMSNorm, with a setup_context


class RMSNorm(Function):
    @staticmethod
    def forward(x: Tensor, weight: Tensor) -> Tensor:
        return x * ((x * x).mean(-1, keepdim=True) + 1e-6) ** -0.5 * weight

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        r = ((x * x).mean(-1, keepdim=True) + 1e-6) ** -0.5
        d = dy * weight
        return r * d - r**3 * x * (d * x).mean(-1, keepdim=True), (dy * x * r).sum(0)


class RMSNormNoWeight(RMSNorm):
    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        x, _ = ctx.saved_tensors
        r = ((x * x).mean(-1, keepdim=True) + 1e-6) ** -0.5
        return r * dy - r**3 * x * (dy * x).mean(-1, keepdim=True), (dy * x * r).sum(0)


# ------------------------------------------------------------------- GELU, its approximation


class GELU(Function):
    cubic = 0.044715

    @classmethod
    def slope(cls, x: Tensor) -> Tensor:
        root = (2 / torch.pi) ** 0.5
        t = torch.tanh(root * (x + cls.cubic * x**3))
        return (1 + t) / 2 + x / 2 * (1 - t * t) * root * (1 + 3 * cls.cubic * x * x)

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x / 2 * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3)))

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        (x,) = ctx.saved_tensors
        return dy * GELU.slope(x)


class RoundedGELU(GELU):
    cubic = 0.0447

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        (x,) = ctx.saved_tensors
        return dy * RoundedGELU.slope(x)


# ------------------------------------------------------------ clamp, and a straight-through round


class Clamp(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, low: float, high: float) -> Tensor:
        ctx.save_for_backward((x > low) & (x < high))
        return torch.clamp(x, low, high)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        return dy * ctx.saved_tensors[0], None, None


class ClampOneSide(Clamp):
    @staticmethod
    def forward(ctx: Any, x: Tensor, low: float, high: float) -> Tensor:
        ctx.save_for_backward(x < high)
        return torch.clamp(x, low, high)


class StraightThrough(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return torch.round(x)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        return dy


# --------------------------------------------------------------------- rows by index: an embedding


class Embedding(Function):
    @staticmethod
    def forward(ctx: Any, table: Tensor, rows: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        ctx.shape = table.shape
        return table[rows]

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        dtable = dy.new_zeros(ctx.shape)
        return dtable.index_add_(0, ctx.saved_tensors[0], dy), None


class EmbeddingAssigned(Embedding):
    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        dtable = dy.new_zeros(ctx.shape)
        dtable[ctx.saved_tensors[0]] = dy  # a row that is looked up twice keeps one gradient
        return dtable, None


# ---------------------------------------------------------------------- softplus with a threshold


class Softplus(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return torch.where(x > 20, x, torch.log1p(torch.exp(torch.clamp(x, max=20))))

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        (x,) = ctx.saved_tensors
        return dy * torch.where(x > 20, 1.0, torch.sigmoid(x))


class SoftplusOverflow(Softplus):
    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        e = torch.exp(ctx.saved_tensors[0])
        return dy * e / (1 + e)  # inf / inf


# ------------------------------------------------------------------------------- a module


class Affine(torch.nn.Module):
    """With a parameter, a frozen one and running means."""

    def __init__(self, sign: float = 1.0) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor([[0.5, -1.0], [2.0, 0.3], [0.1, 0.7]]))
        self.bias = torch.nn.Parameter(torch.tensor([0.2, -0.4]))
        self.frozen = torch.nn.Parameter(torch.tensor([1.5, 0.5]), requires_grad=False)
        self.register_buffer("running", torch.zeros(3))
        self.sign = sign

    def forward(self, x: Tensor) -> Tensor:
        self.running.mul_(0.9).add_(0.1 * x.detach().real.mean(0))
        return Product.apply(x, self.weight, self.sign) * self.frozen + self.bias


class Recurrent(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = torch.nn.GRU(4, 2)

    def forward(self, x: Any) -> Any:
        return self.cell(x)[0]


class Product(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, sign: float) -> Tensor:
        ctx.save_for_backward(x, w)
        ctx.sign = sign
        return x @ w

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        x, w = ctx.saved_tensors
        return dy @ w.T, ctx.sign * x.T @ dy, None


x = rng.standard_normal((4, 6))
gamma, beta = rng.standard_normal((2, 6))
gate = rng.standard_normal((4, 6))
rows = np.array([2, 0, 2, 1])
large = np.array([-3.0, 0.1, 2.0, 19.0, 30.0, 800.0])

CASES = (
    Case("LayerNorm", LayerNorm.apply, (x, gamma, beta, 1e-5)),
    Case("LayerNorm, no path through the variance", LayerNormNoVariance.apply,
         (x, gamma, beta, 1e-5), r"dx: .*proportional to the input centred over axis 1.*variance"),
    Case("LayerNorm, n - 1 in the backward pass", LayerNormUnbiased.apply, (x, gamma, beta, 1e-5),
         r"dx: .*ratio 0.912871 everywhere: a constant factor"),
    Case("SwiGLU", swiglu, (x, gate)),
    Case("SwiGLU, half of the product rule", swiglu_half, (x, gate), "dgate: is wrong in 24 of 24"),
    Case("RMSNorm", RMSNorm.apply, (x, gamma)),
    Case("RMSNorm, weight forgotten in dx", RMSNormNoWeight.apply, (x, gamma),
         "dx: is wrong in 24 of 24"),
    Case("GELU", GELU.apply, (x,)),
    Case("GELU, 0.0447 for 0.044715", RoundedGELU.apply, (x,), "dx: is wrong"),
    Case("clamp", Clamp.apply, (x, -0.5, 0.5)),
    Case("clamp, the lower end forgotten", ClampOneSide.apply, (x, -0.5, 0.5),
         "entries should be 0 and are not"),
    Case("round, straight through", StraightThrough.apply, (x,), "the true gradient is zero"),
    Case("embedding", Embedding.apply, (x, rows)),
    Case("embedding, assigned where it must add", EmbeddingAssigned.apply, (x, rows),
         "only at index 2 of axis 0"),
    Case("softplus", Softplus.apply, (large,)),
    Case("softplus, exp(x) / (1 + exp(x))", SoftplusOverflow.apply, (large,),
         r"1 entries are NaN or infinite, the first at \(5,\)"),
    Case("a module", Affine(), (x[:, :3],)),
    Case("a module, a sign", Affine(-1.0), (x[:, :3],), "dweight: .*the sign is wrong"),
)  # fmt: skip


def gradcheck(case: Case, **options: Any) -> str:
    """What PyTorch's own check says, by default at its own tolerances: "" if it passes."""
    tensors = [torch.tensor(a) if isinstance(a, np.ndarray) else a for a in case.inputs]
    function = case.function
    if isinstance(function, torch.nn.Module):
        function = function.double()
    for t in tensors:
        if isinstance(t, Tensor) and t.is_floating_point():
            t.requires_grad_()
    try:
        torch.autograd.gradcheck(function, tensors, **options)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def kit(case: Case) -> str:
    """What the kit says: "" if it passes."""
    try:
        check_gradients(from_torch(case.function), *case.inputs)
    except (GradientError, InputError) as error:
        return str(error)
    return ""


def main() -> None:
    for case in CASES:
        print(f"# {case.name}")
        start = time.perf_counter()
        print(f"kit       {kit(case) or 'right'} [{time.perf_counter() - start:.2f} s]")
        start = time.perf_counter()
        said = gradcheck(case)
        lines = said.count("\n") + 1
        first = said.split("\n")[0][:90] + f" ... {lines} lines" if said else "right"
        print(f"gradcheck {first} [{time.perf_counter() - start:.2f} s]\n")


if __name__ == "__main__":
    main()
