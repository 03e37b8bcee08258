"""11: the gradient's derivative along a direction."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minireptile.testing import IdentityError, check_same
from tests.mistakes import second_order

from ..form import check_form
from ..record import Exercise, made_in, named

SOLUTION = named(second_order, "hvp")
NAMES = "w", "b", "u", "c"
H = 1e-20  # the complex step, which subtracts nothing
direction = np.random.default_rng(0).standard_normal(second_order.params0.shape)


def by_complex_step(params: Any, x: NDArray, target: NDArray, direction: Any) -> Any:
    """The same derivatives: the imaginary part of the gradient a step aside."""
    aside = [p + 1j * H * r for p, r in zip(params, direction, strict=True)]
    return [g.imag / H for g in second_order.network(aside, x, target)[1]]  # type: ignore[arg-type]


def wrong_parts(my: ModuleType) -> str:
    """Which of the four are right, and which are not."""
    found: dict[bool, list[str]] = {True: [], False: []}
    inputs = (
        second_order.parts(second_order.params0),
        second_order.x1,
        second_order.target1,
        second_order.parts(direction),
    )
    for i, name in enumerate(NAMES):
        right = True
        try:
            check_same(
                lambda i=i: my.hvp(*inputs)[i], lambda i=i: by_complex_step(*inputs)[i], length=40
            )
        except IdentityError:
            right = False
        found[right].append(name)
    wrong, right_ones = (", ".join(found[key]) for key in (False, True))
    return f"  wrong: the derivatives of the gradients by {wrong}; right: {right_ones or 'none'}"


def check(my: ModuleType) -> None:
    """The identities of a Hessian; then the same for a network of other sizes, part by part."""
    given = second_order.parts(second_order.params0)
    result = my.hvp(given, second_order.x1, second_order.target1, second_order.parts(direction))
    check_form("hvp", result, **dict(zip(NAMES, second_order.shapes, strict=True)))
    try:
        second_order.check_hessian(my.hvp)()
    except IdentityError as error:
        raise AssertionError(f"{error}\n{wrong_parts(my)}") from None
    rng = np.random.default_rng(1)
    shapes = (1, 5), (5,), (5, 1), (1,)
    params, along = ([rng.standard_normal(s) for s in shapes] for _ in range(2))
    x, target = rng.standard_normal((2, 7, 1))
    said = "derivatives of the gradients by w, b, u, c (output 0 to 3)"
    check_same(my.hvp, by_complex_step, params, x, target, along, length=40, name=said)


EXERCISE = Exercise(
    name="11_hvp",
    title="a Hessian-vector product",
    minutes=30,
    read="kernels/dense.md, eq. 5 to 8, kernels/tanh.md, eq. 6 and 7, and "
    "kernels/squared_error.md, eq. 3",
    hints=(
        "R{x w + b} = x rw + rb (x is data, rx = 0); R{tanh z} = rz (1 - h^2); R{dy} = 2/B ry; "
        "R{dh (1 - h^2)} = rdh (1 - h^2) - 2 h rh dh; R{h' dy} = rh' dy + h' rdy.",
        "rz is d/dr of z at params + r direction, at r = 0: an ordinary derivative, with the "
        "product rule. What depends on no parameter, x and the target, has none.",
        "Every product of two things that both depend on the parameters gives two terms: h u in "
        "the output, dy u' on the way back, h' dy in the gradient by u, and dh (1 - h^2).",
        "Keep h, dy and dh of the gradient, and compute rh, rdy, rdh and rdz. Then each of the "
        "four results is R of one of the four gradients.",
    ),
    check=check,
    solution=SOLUTION,
    mistakes=made_in(SOLUTION, second_order),
)
