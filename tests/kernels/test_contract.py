"""The kernel contract, for every operation, backend and version.

Outputs are preallocated, overwritten and never accumulated into; any of them may be None, where
nobody wants it, and the others are written all the same; inputs are read only; parameters and their
gradients are views of (T, P) vectors, so their task stride is P; data arrays are contiguous;
float32 and float64 give the numbers of the NumPy reference, version 1 where there are several,
within the tolerance of contract.py.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minireptile.backend import BACKENDS, kernels, versions, why_not
from minireptile.kernels.operations import OPERATIONS

from .contract import Updated, close, is_compiled, make
from .contract_calls import CALLS, REFERENCES, WHOLE, calls_for

USABLE = tuple(backend for backend in BACKENDS if not why_not(backend))


def lengthy(operation: str, backend: str, kernel: Callable[..., None]) -> Any:
    """A rung of Numba's that is not in use is compiled for these tests alone: `make long`."""
    spare = backend == "numba" and kernel is not getattr(kernels(backend), operation)
    return pytest.mark.long if spare else ()


EVERY = [
    pytest.param(
        operation,
        kernel,
        id=f"{operation}-{backend}-{version}",
        marks=lengthy(operation, backend, kernel),
    )
    for backend in USABLE
    for operation in OPERATIONS
    for version, kernel in versions(operation, backend).items()
]


def in_type(dtype: type, version: Any) -> Any:
    """In double precision a rung of Numba's is compiled for these tests alone, too: the numbers of
    one that is in use are those of the compiled loops, which tests/engine has in both."""
    operation, kernel = version.values
    marks = [pytest.mark.long] if is_compiled(kernel) and dtype is np.float64 else version.marks
    name = f"{np.dtype(dtype)}-{version.id}"
    return pytest.param(operation, kernel, dtype, marks=marks, id=name)


both_types = pytest.mark.parametrize("dtype", [np.float32, np.float64])
every_version = pytest.mark.parametrize(
    ("operation", "kernel", "dtype"),
    [in_type(dtype, version) for dtype in (np.float32, np.float64) for version in EVERY],
)


# ------------------------------------------------------------------------------- the tests


def test_every_operation_is_covered() -> None:
    assert set(CALLS) == set(OPERATIONS)


@pytest.mark.parametrize("operation", OPERATIONS)
@given(data=st.data())
def test_the_record_names_what_is_written(operation: str, data: st.DataObject) -> None:
    call, names = (
        data.draw(WHOLE[operation]),
        [*inspect.signature(REFERENCES[operation]).parameters],
    )
    assert [names[i] for i in call.outputs()] == [*OPERATIONS[operation].written]
    updated = {n for n, a in zip(names, call.arguments, strict=True) if isinstance(a, Updated)}
    assert updated <= {*OPERATIONS[operation].updated}


@pytest.mark.parametrize("backend", USABLE)
def test_the_version_in_use_is_one_of_the_versions(backend: str) -> None:
    for operation in CALLS:
        used = getattr(kernels(backend), operation)
        assert used in versions(operation, backend).values(), operation


@every_version
@given(data=st.data())
def test_numbers_of_the_reference(
    operation: str, kernel: Callable[..., None], dtype: type, data: st.DataObject
) -> None:
    call = data.draw(calls_for(operation, kernel))
    expected = make(REFERENCES[operation], call.rounded(dtype), np.float64)
    close(make(kernel, call, dtype), expected, call, dtype)


@pytest.mark.long
@pytest.mark.parametrize(("operation", "kernel"), [p for p in EVERY if is_compiled(p.values[1])])
@both_types
@given(data=st.data())
def test_compiled_for_any_types(
    operation: str, kernel: Callable[..., None], dtype: type, data: st.DataObject
) -> None:
    """As above, for all that `compiled_calls` spares, each combination of it compiled; and for
    inputs that cannot be written."""
    call = data.draw(CALLS[operation])
    expected = make(REFERENCES[operation], call.rounded(dtype), np.float64)
    close(make(lambda *arguments: kernel(*arguments), call, dtype), expected, call, dtype)


@every_version
@given(data=st.data())
def test_batched_equals_looped(
    operation: str, kernel: Callable[..., None], dtype: type, data: st.DataObject
) -> None:
    """T tasks in one call are T calls, to rounding: what a library promises (see the test of the
    same name in test_model.py)."""
    call = data.draw(calls_for(operation, kernel))
    together = make(kernel, call, dtype)
    for t in range(len(together[0])):
        # Numba would compile one task as a type of its own: there it is twice, and looked at once.
        one = call.task(t).paired() if is_compiled(kernel) else call.task(t)
        alone = [array[:1] for array in make(kernel, one, dtype)]
        close([array[t : t + 1] for array in together], alone, call, dtype)
