"""What a file that is raced can be, and the sentence where it cannot."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import race, race_turns
from bench.calls import Call, alone
from bench.measure import Mismatch
from bench.race_check import check_kept, check_one, check_small
from bench.race_file import load, there
from minireptile.backend import why_not
from minireptile.errors import InputError

from .racing import RELU, nothing, small_call


@pytest.mark.parametrize(
    "takes", ["(y, x)", "(out, image)", "(*both)", "(y, x, scratch=None)", "(y, /, x)"]
)
def test_signatures_that_fit(takes: str, yours: Any) -> None:
    assert [*yours(f"def relu_forward{takes}: pass").kernels] == ["relu_forward"]


@pytest.mark.parametrize("takes", ["(x, y)", "(y)", "(y, x, z)", "(y, *, x)", "(x, out)", "()"])
def test_a_wrong_signature_is_said_with_the_contract(takes: str, yours: Any) -> None:
    with pytest.raises(InputError, match=r"mine.py has relu_forward\(.*\(y, x\)$"):
        yours(f"def relu_forward{takes}: pass")


def test_what_has_no_signature_is_called_and_sees(yours: Any) -> None:
    racer = yours("relu_forward = max")
    with pytest.raises(InputError, match=r"mine.py, relu_forward \(x .*ValueError"):
        check_one(racer, alone(small_call("relu_forward")))


@pytest.mark.parametrize(
    ("text", "said"),
    [("import nothing_of_that_name", "while it is imported: ModuleNotFoundError.*(line 1)"),
     ("\ndef relu_forward(y, x)\n    pass", r"is no Python: .*\(line 2\)"),
     ("raise SystemExit(3)", r"it wants to end the process, with sys.exit\(3\)"),
     ("raise KeyboardInterrupt", "KeyboardInterrupt"),
     ("def relu_foward(y, x): pass", "relu_foward: did you mean relu_forward?"),
     ("def straightforward(): pass", "no function named .* operation, which are conv2d_forward, "),
     ("relu_forward = 3", "relu_forward in mine.py is 3, not a function")],
)  # fmt: skip
def test_a_file_that_cannot_be_loaded_is_a_sentence(text: str, said: str, yours: Any) -> None:
    with pytest.raises(InputError, match=said) as error:
        yours(text)
    assert "\n" not in str(error.value)


def test_what_a_kernel_raises_is_said_with_its_line(yours: Any) -> None:
    racer = yours("def relu_forward(y, x):\n    raise SystemExit(2)")
    with pytest.raises(InputError, match=r"mine.py, relu_forward \(x .*float32\): .*\(line 2\)"):
        check_one(racer, alone(small_call("relu_forward")))


def test_what_is_not_to_be_raced(write: Any, tmp_path: Path, yours: Any) -> None:
    for path, said in {
        tmp_path: "is a folder", tmp_path / "none.py": "there is no file",
        write("", "text.txt"): "text.txt is neither Python .*"
        rf"\({re.escape(importlib.machinery.EXTENSION_SUFFIXES[0])}\) .* as bench/RACE.md shows$",
    }.items():  # fmt: skip
        with pytest.raises(InputError, match=said):
            there(path)
    assert there(write("", f"a{importlib.machinery.EXTENSION_SUFFIXES[0]}")).is_absolute()
    with pytest.raises(InputError, match=r"nothing of conv2d is in mine.py: it has relu_forward"):
        race_turns.operations([yours(RELU)], "conv2d")


@pytest.mark.skipif(bool(why_not("numba")), reason=f"not compiled here: {why_not('numba')}")
def test_a_file_of_numbas(yours: Any) -> None:
    text = """
        from numba import njit

        @njit
        def sgd_step(phi, velocity, grad, lr, momentum):
            for t in range(phi.shape[0]):
                for p in range(phi.shape[1]):
                    phi[t, p] -= lr * grad[t, p]
    """
    call = Call("sgd_step", {"phi": np.ones((2, 3)), "velocity": None, "grad": np.ones((2, 3)),
                             "lr": 0.1, "momentum": 0.0})  # fmt: skip
    check_one(yours(text), call)
    with pytest.raises(Mismatch, match="phi of sgd_step"):
        check_one(yours(text.replace("lr *", "0.2 *")), call)
    with pytest.raises(InputError, match=r"has sgd_step\(phi, grad\)"):
        yours("from numba import njit\n@njit\ndef sgd_step(phi, grad): pass")


def test_a_file_imports_what_lies_beside_it(yours: Any, write: Any) -> None:
    """Behind what is installed."""
    write("rate = 2", "lies_beside.py")
    write("raise SystemExit", "colorsys.py")
    found = yours("import colorsys, lies_beside\ndef relu_forward(y, x): return lies_beside.rate")
    kernel = found.kernels["relu_forward"]
    assert kernel(None, None) == 2
    assert kernel.__module__ == "yours.mine"  # another file may have the same name


def test_an_extension_module_is_loaded_by_the_first_part_of_its_name(tmp_path: Path) -> None:
    spec = importlib.util.find_spec("_heapq")
    if spec is None or not spec.has_location:
        pytest.skip("this Python has its extension modules built in")
    assert spec.origin is not None
    path = shutil.copy(spec.origin, tmp_path)
    with pytest.raises(InputError, match=r"has no function named after an operation"):
        load("yours", Path(path), nothing)


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler is installed")
def test_a_file_that_calls_c(yours: Any, tmp_path: Path, tiny: list[str]) -> None:
    source, library = tmp_path / "relu.c", tmp_path / "relu.so"
    loops = [
        f"void relu_{t}({t} *y, const {t} *x, long n) "
        "{ for (long i = 0; i < n; ++i) y[i] = x[i] > 0 ? x[i] : 0; }"
        for t in ("float", "double")
    ]
    source.write_text("\n".join(loops))
    subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", library, source], check=True)
    text = f"""
        import ctypes

        library = ctypes.CDLL("{library}")

        def relu_forward(y, x):
            name = "relu_float" if y.itemsize == 4 else "relu_double"
            addresses = (ctypes.c_void_p(a.ctypes.data) for a in (y, x))
            getattr(library, name)(*addresses, ctypes.c_long(y.size))
    """
    check_small(yours(text), {"relu_forward"})
    with pytest.raises(Mismatch, match="y of relu_forward"):
        check_small(yours(text.replace("y.size", "y.size - 1")), {"relu_forward"})


EXAMPLES = {
    next(word for word in ("cupy", "numba", "ctypes", "") if word in block): block
    for block in re.findall(r"```python\n(.*?)```", Path(race.__file__).with_name("RACE.md")
                            .read_text(encoding="utf-8"), re.DOTALL)
}  # fmt: skip


@pytest.mark.parametrize("way", ["", "numba", "ctypes"])
def test_the_pages_examples_are_right(way: str, yours: Any, tiny: list[str]) -> None:
    assert {*EXAMPLES} == {"", "numba", "ctypes", "cupy"}
    if way == "ctypes" and shutil.which("cc") is None:
        pytest.skip("no C compiler is installed")
    if way == "numba" and why_not("numba"):
        pytest.skip(f"not compiled here: {why_not('numba')}")
    racer = yours(EXAMPLES[way])
    (operation,) = racer.kernels
    call = alone(small_call(operation))
    check_one(racer, call)
    check_kept(racer, call)
    if way != "numba":  # which compiles for each kind of argument
        check_small(racer, {operation})
