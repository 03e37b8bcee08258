"""The kit on PyTorch: custom operations right and wrong, what is no gradient at all, and the second
derivative; beside it what gradcheck says."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minireptile as mr
from minireptile.testing import (
    GradientError,
    IdentityError,
    check_float32,
    check_gradients,
    check_hvp,
    from_torch,
)

torch = pytest.importorskip("torch", reason="PyTorch is not installed: make peers-test brings it")

from . import torch_ops  # noqa: E402
from .torch_ops import CASES, GELU, Affine, Case, Function, LayerNorm, gradcheck, kit  # noqa: E402

X = np.random.default_rng(0).standard_normal((3, 4))
by_name = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@by_name
def test_right_passes_and_wrong_is_told(case: Case) -> None:
    said = kit(case)
    if case.points_at:
        assert re.search(case.points_at, said, re.DOTALL), said
    else:
        assert not said


# What a tolerance of 1e-3 lets pass, and what is no input.
PASSED_BY_GRADCHECK = {"GELU, 0.0447 for 0.044715", "a module, a sign"}


@by_name
def test_where_gradcheck_differs(case: Case) -> None:
    agree = (not gradcheck(case)) == (not case.points_at)
    assert agree == (case.name not in PASSED_BY_GRADCHECK)


def test_a_large_batch_hides_a_term_from_gradcheck() -> None:
    """Batch norm with M - 1 in its backward pass: the fast mode passes it at M = 100."""

    class BatchNorm(Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            centred = x - x.mean(0)
            ctx.save_for_backward(centred)
            return centred * ((centred**2).mean(0) + 1e-5) ** -0.5

        @staticmethod
        def backward(ctx: Any, dy: Any) -> Any:
            (centred,) = ctx.saved_tensors
            rstd = ((centred**2).sum(0) / (len(centred) - 1) + 1e-5) ** -0.5
            xhat = centred * rstd
            return rstd * (dy - dy.mean(0) - xhat * (dy * xhat).mean(0))

    x = np.random.default_rng(0).standard_normal((600, 1))
    case = Case("batch norm", BatchNorm.apply, (x[:100],), "dx: is wrong")
    assert gradcheck(case)
    assert not gradcheck(case, fast_mode=True)
    assert "dx: is wrong in 100 of 100" in kit(case)


def test_right_float32_code_fails_gradcheck_and_passes_check_float32() -> None:
    reference = from_torch(LayerNorm)
    x = torch.randn(4, 16, generator=torch.Generator().manual_seed(0))
    ones, zeros = torch.ones(16), torch.zeros(16)
    report = check_float32(from_torch(LayerNorm), reference, x, ones, zeros, 1e-5, terms=16)
    assert report.errors.keys() == {"dx", "dgamma", "dbeta"}
    assert report.notes == ["float32: rounding explains 2.9e-06 of a gradient's largest entry, "
                            "eps 1.2e-07 times 16 terms + 8"]  # fmt: skip
    with pytest.warns(UserWarning, match="not a double precision"), pytest.raises(Exception):  # noqa: B017
        torch.autograd.gradcheck(lambda x: LayerNorm.apply(x, ones, zeros, 1e-5),
                                 x.clone().requires_grad_())  # fmt: skip


# --------------------------------------------------------------------- names, settings, modules


def test_names_are_those_of_forward() -> None:
    report = check_gradients(from_torch(LayerNorm.apply), *CASES[0].inputs)
    assert report.name == "LayerNorm"
    assert report.errors.keys() == {"dx", "dgamma", "dbeta"}  # eps is a setting
    report = check_gradients(from_torch(torch.mul), X, X + 1, names=("a", "b"), name="times")
    assert (report.name, *report.errors) == ("times", "da", "db")
    named = {
        from_torch(torch_ops.swiglu): {"dx", "dgate"},
        from_torch(torch.ops.minireptile_tests.swiglu): {"dx", "dgate"},
        from_torch(torch.ops.aten.mul.Tensor): {"dself", "dother"},
        from_torch(torch_ops.RMSNorm): {"dx", "dweight"},
    }
    for adapter, names in named.items():
        assert check_gradients(adapter, X, X if "dweight" not in names else X[0]).errors.keys() == (
            names
        )


def test_tensors_are_as_good_as_arrays() -> None:
    for x in (torch.tensor(X, requires_grad=True), torch.tensor(X).bfloat16(), X.tolist()):
        assert check_gradients(from_torch(torch.tanh), x).errors["dx"] < 1e-14


def test_a_module_stays_as_it_is() -> None:
    module = Affine()
    before = {n: t.clone() for n, t in module.state_dict().items()}
    report = check_gradients(from_torch(module), X[:, :3])
    assert report.errors.keys() == {"dx", "dweight", "dbias"}
    assert report.method == "complex step"
    report = check_gradients(from_torch(module), X[:, :3], params=["bias"])
    assert report.errors.keys() == {"dx", "dbias"}
    report = check_float32(from_torch(module), from_torch(module), X[:, :3], terms=4)
    assert report.errors.keys() == {"dx", "dweight", "dbias"}
    for n, t in module.state_dict().items():
        assert t.dtype == torch.float32
        assert torch.equal(t, before[n])
        assert t.grad is None


def test_a_module_of_modules() -> None:
    layers = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3), torch.nn.Tanh())
    report = check_gradients(from_torch(layers), X)
    assert report.errors.keys() == {"dinput", "d0.weight", "d0.bias", "d1.weight", "d1.bias"}
    assert report.method == "differences"  # its batch norm refuses complex numbers


F = torch.nn.functional
OWN: dict[str, tuple[Callable[[], Any], tuple[Any, ...], str]] = {
    "convolution": (lambda: torch.nn.Conv2d(2, 2, 3, padding=1), (np.cos(np.arange(24)).reshape(
        1, 2, 3, 4),), "differences"),
    "recurrent": (torch_ops.Recurrent, (X[:, None],), "complex step"),
    "cross-entropy": (lambda: F.cross_entropy, (X, np.array([0, 3, 1])), "differences"),
    "attention": (lambda: F.scaled_dot_product_attention, (X, X + 1, X - 1), "differences"),
    "cholesky": (lambda: lambda a: torch.linalg.cholesky(a @ a.mT), (X[:, :3],), "differences"),
    "inverse": (lambda: torch.linalg.inv, (X[:, :3],), "complex step"),
    "by checkpoints": (lambda: lambda x: torch.utils.checkpoint.checkpoint(
        lambda x: x.sin().exp(), x, use_reentrant=False), (X,), "complex step"),
}  # fmt: skip


@pytest.mark.parametrize("name", OWN)
def test_operations_of_its_own_pass(name: str) -> None:
    make, inputs, method = OWN[name]
    assert check_gradients(from_torch(make()), *inputs).method == method


def test_refused_complex_numbers_mean_differences() -> None:
    report = check_gradients(from_torch(torch.nn.functional.gelu), X)
    assert report.method == "differences"
    assert max(report.errors.values()) < 1e-9
    kink = check_gradients(from_torch(torch.relu), [[0.0, 1.0, -1.0]])
    assert any("kink" in note for note in kink.notes)


# ------------------------------------------------------------------------ what is no gradient


def function(forward: Any, backward: Any = None) -> Any:
    """An autograd.Function of one input."""
    parts = {"forward": staticmethod(forward)}
    parts |= {"backward": staticmethod(backward)} if backward else {}
    kind: Any = type("Square", (Function,), parts)
    return kind.apply


def square(ctx: Any, x: Any) -> Any:
    ctx.save_for_backward(x)
    return x * x


def spoils(ctx: Any, dy: Any) -> Any:
    return 2 * dy * ctx.saved_tensors[0].mul_(2)


def spoils_dy(ctx: Any, dy: Any) -> Any:
    return dy.mul_(2) * ctx.saved_tensors[0]


def saved_in_place(x: Any) -> Any:
    y = x.exp()
    z = y.sin()
    y.mul_(2)
    return z


WRONG: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "None": (lambda: (lambda x: None), mr.InputError, "returns None: it must return its output"),
    "a tuple": (lambda: (lambda x: (x, x)), mr.InputError,
                r"a tuple of 2: check one output at a time, such as by .*\[0\]$"),
    "a number": (lambda: (lambda x: 3.0), mr.InputError, "type float: a tensor is needed"),
    "integers": (lambda: (lambda x: x.long()), mr.InputError, "torch.int64, which has no gradient"),
    "needs integers": (lambda: (lambda x: X[x]), mr.InputError, "of float64 raises IndexError"),
    "raises": (lambda: (lambda x: x @ torch.ones(4)), mr.InputError,
               r"raises RuntimeError: .* same dtype.* \(test_from_torch.py, line \d+\)$"),
    "detaches": (lambda: (lambda x: (2 * x).detach()), GradientError,
                 "all: the output is cut off from the inputs, it has no grad_fn: something on"),
    "through NumPy": (lambda: (lambda x: torch.from_numpy(2 * x.numpy())), GradientError,
                      r"inputs that need a gradient raises RuntimeError: Can't call numpy\(\)"),
    "changes its input": (lambda: (lambda x: x.mul_(2)), GradientError,
                          "x: forward changes its input x: work on a copy"),
    "changes what it kept": (lambda: saved_in_place, GradientError,
                             "kept for the backward pass is changed in place afterwards"),
    "backward changes x": (lambda: function(square, spoils), GradientError,
                           "x: backward changes its input x: work on a copy"),
    "backward changes dy": (lambda: function(square, spoils_dy), GradientError,
                            "backward changes its input the upstream gradient"),
    "backward returns None": (lambda: function(square, lambda ctx, dy: None), GradientError,
                              "dx: backward returns None, and the input is a float array"),
    "two gradients": (lambda: function(square, lambda ctx, dy: (dy, dy)), GradientError,
                      "backward returns 2 gradients for 1 inputs: return one for each"),
    "a wrong shape": (lambda: function(square, lambda ctx, dy: dy[:2]), GradientError,
                      r"invalid gradient at index 0 - got \[2, 4\] but expected .*\[3, 4\]"),
    "no backward": (lambda: function(square), GradientError, "You must implement either the"),
    "backward raises": (lambda: function(square, lambda ctx, dy: dy @ dy), GradientError,
                        r"raises RuntimeError: mat1 and .* \(test_from_torch.py, line \d+\)\n"),
    "not registered": (lambda: torch_ops.bare, GradientError,
                       "no autograd formula was registered"),
    "random": (lambda: torch.nn.Dropout(0.5), GradientError, "forward is random"),
    "a class": (lambda: torch.nn.Linear, mr.InputError, "Linear is a class: give an instance"),
    "no function": (lambda: 3, mr.InputError, "takes a function or a module, not 3"),
    "lazy": (lambda: torch.nn.LazyLinear(2), mr.InputError, "LazyLinear .* call it once before"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::UserWarning")  # of PyTorch: lazy modules are new
@pytest.mark.parametrize("case", WRONG)
def test_what_goes_wrong_is_one_sentence(case: str) -> None:
    make, kind, words = WRONG[case]
    with pytest.raises(kind, match=words) as error:
        check_gradients(from_torch(make()), X)
    lines = str(error.value).split("\n")
    assert len(lines) == (1 if kind is mr.InputError else 3), lines
    assert error.value.__suppress_context__ or error.value.__cause__ is None
    assert "Traceback" not in str(error.value)


def test_an_input_too_few_and_a_device_that_is_not_there() -> None:
    with pytest.raises(mr.InputError, match="missing a required argument: 'gate'"):
        check_gradients(from_torch(torch_ops.swiglu), X)
    with pytest.raises(mr.InputError, match="PyTorch has no device 'abacus' here: RuntimeError"):
        from_torch(torch.tanh, "abacus")
    with pytest.raises(mr.InputError, match="Linear has no parameter 'w': it has weight, bias"):
        check_gradients(from_torch(torch.nn.Linear(4, 2)), X, params=["w"])


def test_another_device_by_a_stand_in() -> None:
    """`meta` computes nothing; what comes back from it is said in a sentence."""
    with pytest.raises(mr.InputError, match="tanh of float64 raises NotImplementedError"):
        check_gradients(from_torch(torch.tanh, "meta"), X)


# ------------------------------------------------------------------------ second derivatives


class Cube(Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx: Any, dy: Any) -> Any:
        return 3 * dy * ctx.saved_tensors[0] ** 2


class CubeOnce(Cube):
    backward = staticmethod(torch.autograd.function.once_differentiable(Cube.backward))


class CubeConstant(Cube):
    @staticmethod
    def backward(ctx: Any, dy: Any) -> Any:
        return 3 * dy * ctx.saved_tensors[0].detach() ** 2


class CubeOfConstant(Cube):
    @staticmethod
    def backward(ctx: Any, dy: Any) -> Any:
        return 3 * dy.detach() * ctx.saved_tensors[0] ** 2


def test_second_derivatives() -> None:
    for right in (Cube, torch_ops.RMSNorm, torch_ops.swiglu, GELU):
        inputs = (X, X[0] + 3) if right in (torch_ops.RMSNorm, torch_ops.swiglu) else (X,)
        inputs = (X, X + 1) if right is torch_ops.swiglu else inputs
        assert check_hvp(*from_torch(right).hessian(*inputs)) < 1e-6
    module = Affine()
    assert check_hvp(*from_torch(module).hessian(X[:, :3])) < 1e-6
    for wrong, words in (
        (CubeOnce, "CubeOnce: autograd sees no path from the gradient to the inputs"),
        (CubeConstant, r"u \. H v = .*, and differences give"),
        (CubeOfConstant, r"u \. H v = .*, and differences give"),
        (lambda x: x.detach(), "cut off from the inputs"),
    ):
        with pytest.raises(IdentityError, match=words):
            check_hvp(*from_torch(wrong).hessian(X))


def test_a_saved_intermediate_is_right_once_and_wrong_twice() -> None:
    """LayerNorm keeps xhat, which autograd takes for a constant when it differentiates backward."""
    inputs = CASES[0].inputs
    assert not kit(CASES[0])
    with pytest.raises(IdentityError, match="not symmetric"):
        check_hvp(*from_torch(LayerNorm).hessian(*inputs))
    tensors = [torch.tensor(a, requires_grad=True) for a in inputs[:3]]
    assert not torch.autograd.gradgradcheck(
        LayerNorm.apply, (*tensors, 1e-5), raise_exception=False
    )


def test_nothing_to_differentiate() -> None:
    with pytest.raises(mr.InputError, match="nothing to differentiate"):
        from_torch(torch.tanh).hessian([1, 2])
    with pytest.raises(mr.InputError, match="nothing to differentiate"):
        check_gradients(from_torch(torch.tanh), 2.0)
