"""A race of somebody's kernels: what is wrong with them is found and said; no test is of time."""

from __future__ import annotations

import importlib.machinery
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from textwrap import dedent
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import minireptile as mr
from bench import measure, race, race_check, race_gpu, race_turns, results
from bench.__main__ import main
from bench.calls import Call, alone, calls_of
from bench.gpu.card import Ceilings
from bench.machine import Limits
from bench.measure import Mismatch, Timing
from bench.race_check import Unfair, check_kept, check_one, check_small, small
from bench.race_file import Racer, load, there
from bench.race_turns import MARGIN, Job
from minireptile.backend import kernels, versions, why_not
from minireptile.errors import InputError
from minireptile.kernels import launch_cupy
from minireptile.kernels.operations import OPERATIONS
from tests.gpu.cuda_on_cpu import COMPILER
from tests.gpu.gpu_stand_in import stand_in

RELU = """
    import numpy as np

    def relu_forward(y, x):
        np.maximum(x, 0, out=y)
"""
# Patches as a view, then Einstein's sum.
CONVOLUTION = """
    import numpy as np
    from numpy.lib.stride_tricks import as_strided

    def conv2d_forward(y, cols, x, w, b, stride, pad):
        (kh, kw), (H, W) = w.shape[1:3], y.shape[2:4]
        below = max((H - 1) * stride[0] + kh - pad[0] - x.shape[2], 0)
        right = max((W - 1) * stride[1] + kw - pad[1] - x.shape[3], 0)
        x = np.pad(x, ((0, 0), (0, 0), (pad[0], below), (pad[1], right), (0, 0)))
        t, i, r, q, c = x.strides
        shape = (*x.shape[:2], H, W, *w.shape[1:4])
        patches = as_strided(x, shape, (t, i, r * stride[0], q * stride[1], r, q, c))
        np.einsum("tbopijc,tijcn->tbopn", patches, w, out=y)
        if b is not None:
            y += b[:, None, None, None]
"""
DENSE = """
    def dense_backward(dx, dw, db, dy, x, w):
        if dx is not None:
            dx[...] = dy @ w.swapaxes(1, 2)
        if dw is not None:
            dw[...] = x.swapaxes(1, 2) @ dy
        if db is not None:
            db[...] = dy.sum(1)
"""
LIMITS = Limits(1, 100.0, {"memory": 10.0}, {"memory": np.inf})


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """A file with this text."""

    def written(text: str, name: str = "mine.py") -> Path:
        (tmp_path / name).write_text(dedent(text))
        return tmp_path / name

    return written


@pytest.fixture
def yours(write: Callable[..., Path]) -> Callable[[str], Racer]:
    """The kernels of a file with this text."""
    return lambda text: load("yours", write(text), lambda doing: None)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A race of few small cases, with these limits, whose turns are of no time; what was timed."""
    turns: list[str] = []

    def of_training(quick: bool, wanted: set[str]) -> Iterator[tuple[Call, results.Row]]:
        for call in calls_of(mr.omniglot_cnn(3, 4, (8, 8, 1)), mr.SGD(0.1), 2, 3, wanted):
            case = f"omniglot {call.operation} {call.shapes}"
            yield call, {"case": case, "group": "omniglot", "times": call.times}

    def in_turns(
        variants: dict, rounds: int, least: float, wait: Callable[[], None]
    ) -> dict[str, Timing]:
        for _ in range(1 + rounds):
            for call in variants.values():
                call()
                wait()
        turns.extend(variants)
        return {name: Timing(0.02 + 0.01 * i, 0.01, 0.05, 1) for i, name in enumerate(variants)}

    def ladder(operation: str) -> dict[str, tuple]:
        return {f"numpy {v}": ("numpy", v, k) for v, k in versions(operation, "numpy").items()}

    fakes = {"of_training": of_training, "in_turns": in_turns, "ladder": ladder}
    for name, fake in {**fakes, "limits": lambda *_: LIMITS}.items():
        monkeypatch.setattr(race_turns, name, fake)
    monkeypatch.setattr(race_check, "SMALL", 3)
    monkeypatch.setattr(race_turns, "LATE", 0.0)
    return turns


def job(*paths: Path, only: str = "") -> Job:
    return Job(dict(zip(("yours", "theirs"), map(str, paths), strict=False)), 2, True, only)


def nothing(doing: str) -> None:
    """Nobody wants to know."""


# ------------------------------------------------------------------------------ what is checked


def test_small_cases_are_of_every_operation_and_kind() -> None:
    found = list(small(OPERATIONS, race_check.SMALL))
    assert {call.operation for call in found} == {*OPERATIONS}
    arrays = [a for call in found for a in call.arguments.values() if isinstance(a, np.ndarray)]
    assert {a.dtype for a in arrays} >= {np.dtype("f4"), np.dtype("f8")}
    assert {a.shape[0] for a in arrays} >= {1, 2}
    convolutions = [call.arguments for call in found if call.operation == "conv2d_backward"]
    assert any(a["stride"][0] != a["stride"][1] for a in convolutions)
    assert {a["pad"] for a in convolutions} >= {(0, 0), (1, 1)}
    assert all(a["dx"] is not None for a in convolutions)
    assert not all(a["w"].flags.c_contiguous for a in convolutions)


@pytest.mark.parametrize("operation", sorted(OPERATIONS))
def test_the_projects_own_kernels_pass(operation: str, tiny: list[str]) -> None:
    for name, kernel in versions(operation, "numpy").items():
        check_small(Racer(name, Path("own.py"), {operation: kernel}, nothing), {operation})


@pytest.mark.parametrize("operation", sorted(OPERATIONS))
def test_cases_do_not_cancel(operation: str) -> None:
    """A right kernel that rounds otherwise is right: here, in double precision; first versions."""

    def in_double(*arguments: Any) -> None:
        real = [isinstance(a, np.ndarray) and a.dtype.kind == "f" for a in arguments]
        wide = [a.astype(np.float64) if r else a for a, r in zip(arguments, real, strict=True)]
        versions(operation, "numpy")["v1"](*wide)
        for a, b, r in zip(arguments, wide, real, strict=True):
            if r:
                a[...] = b

    check_small(Racer("double", Path("own.py"), {operation: in_double}, nothing), {operation})


def small_call(operation: str) -> Call:
    return next(small({operation}, race_check.SMALL))


@pytest.mark.parametrize("operation", sorted(OPERATIONS))
def test_other_numbers_are_others_and_still_go_together(operation: str) -> None:
    """Every float input that may be drawn is; a kernel that keeps its answer is found."""
    call, right = alone(small_call(operation)), getattr(kernels("numpy"), operation)
    before = {k: a.copy() for k, a in call.arguments.items() if isinstance(a, np.ndarray)}
    race_check.change_all(call, np.random.default_rng(0))
    changed = {k for k, a in before.items() if not np.array_equal(a, call.arguments[k])}
    assert changed >= {"mean", "winner"} & {*race_check._inputs(call)}  # which exchange tasks
    assert changed
    assert not changed & {*OPERATIONS[operation].written, *OPERATIONS[operation].updated}
    if "mean" in changed:
        x, axes = call.arguments["x"], tuple(range(1, call.arguments["x"].ndim - 1))
        np.testing.assert_allclose(call.arguments["mean"], x.mean(axes), rtol=1e-4, atol=1e-6)
    kept: dict[str, Any] = {}

    def keeps(*arguments: Any) -> None:
        right(*arguments)
        for i, name in enumerate(call.arguments):
            outputs = *OPERATIONS[operation].written, *OPERATIONS[operation].updated
            if name in outputs and arguments[i] is not None:
                arguments[i][...] = kept.setdefault(name, arguments[i].copy())

    racer = Racer("yours", Path("mine.py"), {operation: keeps}, nothing)
    check_one(racer, call)
    with pytest.raises(Unfair, match="answers are kept"):
        check_kept(racer, call)


def test_a_good_kernel_is_timed_among_the_rungs(write: Any, tiny: list[str]) -> None:
    limits, *rows = race_turns.race(job(write(CONVOLUTION)), nothing)
    assert limits["peak_gflops"] == 100
    assert len({row["case"] for row in rows}) == 4
    assert tiny == 4 * ["numpy v1", "numpy v2", "numpy v3", "yours"]
    first = rows[:4]
    assert [row["variant"] for row in first] == tiny[:4]  # the fastest first
    assert [row["yours"] for row in first] == [False, False, False, True]
    assert first[3]["seconds"] == 0.05
    assert first[3]["ratio"] == pytest.approx(0.05 / 0.02)
    assert first[3]["gflops"] == pytest.approx(1e-9 * first[3]["flops"] / 0.05)


def test_two_files_race_what_both_have(write: Any, tiny: list[str]) -> None:
    mine, other = write(RELU + CONVOLUTION), write(DENSE + RELU, "other.py")
    rows = race_turns.race(job(mine, other), nothing)
    assert {row["operation"] for row in rows[1:]} == {"relu_forward"}
    assert tiny[-2:] == ["theirs", "yours"]
    with pytest.raises(InputError, match=r"no operation is in both files: mine.py has"):
        race_turns.race(job(mine, write(DENSE, "third.py")), nothing)


def test_an_error_of_a_thousandth_is_found_before_anything_is_timed(
    write: Any, tiny: list[str]
) -> None:
    text = CONVOLUTION.replace("out=y)\n", "out=y)\n        y *= 1.001\n")
    with pytest.raises(
        Mismatch, match=r"mine.py\), y of conv2d_forward .* the worst at \[\d, .*x "
    ):
        race_turns.race(job(write(text)), nothing)
    assert not tiny


KEEPS = """
    kept = {{}}

    def relu_forward(y, x):
        key = {key}
        if key not in kept:
            np.maximum(x, 0, out=y)
            kept[key] = y.copy()
        y[...] = kept[key]
"""


@pytest.mark.parametrize(
    "key",
    ["x.ctypes.data, x.shape", "x.tobytes()[:64], x.shape, x.dtype.char",
     "id(x), x.shape", "x.shape, float(x.flat[0]), x.dtype.char, float(x.flat[-1])"],
)  # fmt: skip
def test_answers_kept_from_before_are_found(key: str, write: Any, tiny: list[str]) -> None:
    text = dedent(RELU) + dedent(KEEPS.format(key=key))
    with pytest.raises((Unfair, Mismatch), match=r"yours \(mine.py\), y of relu_forward"):
        race_turns.race(job(write(text)), nothing)
    assert not tiny


def test_a_kernel_that_is_idle_once_it_is_timed_is_found(write: Any, tiny: list[str]) -> None:
    """Outputs hold NaN where numbers are checked, and an answer while turns are taken."""
    idle = "    def relu_forward(y, x):\n        if not np.isnan(y).any():\n            return"
    with pytest.raises(Unfair, match=r"right before the turns, .*: 1 of .* entries differ"):
        race_turns.race(job(write(RELU.replace("    def relu_forward(y, x):", idle))), nothing)
    assert "yours" in tiny


def test_a_wrong_number_is_not_taken_for_one_that_is_kept(yours: Any) -> None:
    """Of large numbers only; and a part that is kept is."""
    call = alone(small_call("dense_forward"))
    weak = yours("""
        import numpy as np

        def dense_forward(y, x, w, b):
            y[...] = np.clip(x, -9, 9) @ w + b[:, None]
    """)
    for array in race_check._inputs(call).values():
        array[...] = np.clip(array, -1, 1)
    check_one(weak, call)
    with pytest.raises(Mismatch, match=r"y of dense_forward"):
        check_kept(weak, call)
    weights = yours("""
        kept = {}

        def dense_forward(y, x, w, b):
            y[...] = x @ kept.setdefault(w.ctypes.data, w.copy()) + b[:, None]
    """)
    call = alone(call)
    check_one(weights, call)
    with pytest.raises(Unfair, match="answers are kept"):
        check_kept(weights, call)


def test_a_file_that_keeps_answers_once_it_is_timed_is_found(write: Any, tiny: list[str]) -> None:
    """Also where the other file wrote last."""
    late = dedent(KEEPS.format(key="x.ctypes.data if late else object()")).replace(
        "key =", "late.extend([1] * (not np.isnan(y).any()))\n    key ="
    )
    other = write(dedent(RELU) + "late = []\n" + late, "other.py")
    with pytest.raises(Unfair, match=r"theirs \(other.py\), y of relu_forward"):
        race_turns.race(job(write(RELU), other), nothing)
    assert "theirs" in tiny


def test_no_call_of_a_turn_has_the_inputs_of_another() -> None:
    call, seen = alone(small_call("conv2d_forward")), set()
    variants = [
        race_check.changing(call, lambda *a, i=i: seen.add((a[2].tobytes(), a[3].tobytes())), n)
        for n in [race_check.numbers()]
        for i in range(2)
    ]
    for _ in range(5):
        for run in variants:
            run()
    assert len({x for x, _ in seen}) == len({w for _, w in seen}) == 10


@pytest.mark.parametrize(
    ("line", "said"),
    [("x += 1", "nothing was timed: yours .* changes its input x: relu_forward"),
     ("y.base[...] = 1", "writes beside its outputs")],
)  # fmt: skip
def test_nothing_but_the_outputs_is_written(line: str, said: str, yours: Any) -> None:
    whole = np.zeros((2, 9), np.float32)
    arguments = {"y": whole[:, 2:7], "x": np.ones((2, 5), np.float32)}
    call = Call("relu_forward", arguments)
    check_one(yours(RELU), call)
    text = RELU.replace("np.maximum(x, 0, out=y)", f"{line}; np.maximum(x, 0, out=y)")
    with pytest.raises(Unfair, match=said):
        check_one(yours(text), call)


def test_work_that_goes_on_after_the_call_is_found(yours: Any) -> None:
    text = """
        import threading, time
        import numpy as np

        def again(y, x):
            while not np.isnan(y).all():
                time.sleep(0.001)
            np.maximum(x, 0, out=y)

        def relu_forward(y, x):
            np.maximum(x, 0, out=y)
            threading.Thread(target=again, args=(y, x)).start()
    """
    with pytest.raises(Unfair, match=r"goes on writing y after it has returned"):
        check_one(yours(text), alone(small_call("relu_forward")), late=1.0)


def test_any_output_may_be_none(yours: Any, tiny: list[str]) -> None:
    check_small(yours(DENSE), {"dense_backward"})
    refuses = DENSE.replace("if db is not None:", "if True:")
    with pytest.raises(InputError, match=r"None for db, which nobody wants: TypeError.*line 8"):
        check_small(yours(refuses), {"dense_backward"})
    leaves = DENSE.replace("if db is not None:", "if db is not None and dw is not None:")
    with pytest.raises(Mismatch, match=r"None for dw, .*db of dense_backward.* nan where"):
        check_small(yours(leaves), {"dense_backward"})
    unbiased = dedent(CONVOLUTION).replace("if b is not None", "if True")
    with pytest.raises(InputError, match=r"with None for b, which"):
        check_small(yours(unbiased), {"conv2d_forward"})


# ----------------------------------------------------------------------------- what a file can be


@pytest.mark.parametrize(
    "takes",
    ["(y, x)", "(out, image)", "(*both)", "(y, x, scratch=None)", "(y, /, x)"],
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
     ("def main(): pass", "no function named after an operation, which are conv2d_forward, "),
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
        write("", "text.txt"): "neither Python",
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


# ------------------------------------------------------------------- a process that comes to an end


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process starts faster without one."""
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")


@pytest.mark.usefixtures("no_compiler")
@pytest.mark.parametrize(
    ("text", "said"),
    [("import os\nos._exit(7)", "while it is imported: it ended the process, with exit code 7"),
     ("import ctypes\nctypes.string_at(0)", "it crashed (SIGSEGV)"),
     ("import os\nif os.fork() == 0:\n    while True: pass", "it forks"),
     ("import os, subprocess\n"
      "open(PIDS, 'w').write(f'{os.getpid()} {subprocess.Popen([\"sleep\", \"99\"]).pid}')\n"
      "print('once more')\nwhile True: pass", "it did not return within 3 s")],
    ids=["ends", "crashes", "forks", "never returns"],
)  # fmt: skip
def test_a_process_that_does_not_answer_is_a_sentence(
    text: str, said: str, write: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pids = tmp_path / "pids"
    path = write(text.replace("PIDS", repr(str(pids))))
    assert main(["race", str(path), "--time-limit", "3", "--out", str(tmp_path / "out")]) == 2
    printed, told = capfd.readouterr()
    assert printed == "runs the code of mine.py\n"
    sentence = told.splitlines()[-1]
    assert sentence.startswith("bench: mine.py, while it is imported")
    assert said in sentence
    if "once more" in text:
        assert "bench: mine.py printed lines: 1\n    once more\n" in told
        assert all(gone(int(pid)) for pid in pids.read_text().split())


def gone(pid: int) -> bool:
    """Whether a process has ended, or soon has; its parent may not have looked yet."""
    for _ in range(100):
        try:
            os.kill(pid, 0)
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return True
        if stat.rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.05)
    return False


@pytest.mark.usefixtures("no_compiler")
def test_a_race_ends_with_the_process_that_asked_for_it(write: Any) -> None:
    """However that one ended: killed, it can tell nobody."""
    with race._process(job(write("print('begun')\nwhile True: pass"))) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        process.wait(60)
        process.stdout.close()


@pytest.mark.usefixtures("no_compiler")
def test_the_command_races_saves_and_draws(
    write: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """What the file prints is not in the table."""
    text = RELU.replace("np.maximum", 'print("a line")\n        np.maximum')
    out = tmp_path / "out"
    path = write(text)
    assert main(["race", str(path), "--quick", "--rounds", "1", "--out", str(out)]) == 0
    printed, told = capfd.readouterr()
    assert printed.startswith("runs the code of mine.py\n## race\n")
    assert "|   **yours**   |" in printed
    assert "yours: " in printed
    assert "a line" not in printed
    assert "    a line\n" * race.SHOWN in told
    assert told.count("a line") == race.SHOWN
    saved = results.load(out / "race.json")
    assert saved["suite"] == "race"
    assert {row["variant"] for row in saved["rows"][1:]} == {"yours", "numpy v1"}
    assert (out / "race-ladders.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [(Mismatch("y"), 1, "bench: wrong numbers, so nothing was timed: y"),
     (Unfair("kept"), 1, "bench: kept"), (InputError("no"), 2, "bench: no")],
)  # fmt: skip
def test_what_a_process_answers_is_the_exit_code(
    error: Exception, code: int, said: str, write: Any, tmp_path: Path, capsys: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(race, "run", fail)
    assert main(["race", str(write(RELU)), "--out", str(tmp_path)]) == code
    assert capsys.readouterr().err.splitlines()[-1] == said
    key = {Mismatch: "wrong", Unfair: "unfair", InputError: "error"}[type(error)]
    with pytest.raises(type(error), match=str(error)):
        race._rows({key: str(error)})


@pytest.mark.parametrize("limit", ["0", "-1", "nan", "1e300"])
def test_a_time_limit_is_a_time(limit: str, write: Any, tmp_path: Path, capsys: Any) -> None:
    path = str(write(RELU))
    assert main(["race", path, "--time-limit", limit, "--out", str(tmp_path)]) == 2
    assert "--time-limit must be" in capsys.readouterr().err


# ------------------------------------------------------------------- faster than this machine can


def convolution(seconds: float, ladder: float) -> tuple[Call, dict[str, tuple[Timing, float]]]:
    """A convolution without padding, of dense arithmetic, and how long it took."""
    layers: list[mr.Layer] = [mr.Conv2D(8, 3, 1, "valid"), mr.Flatten(), mr.Dense(2)]
    model = mr.Model(layers, (12, 12, 8))
    call = calls_of(model, mr.SGD(0.1), 2, 4, {"conv2d_forward"})[0]
    times = {"numpy v1": ladder, "yours": seconds}
    return call, {name: (Timing(t, t, t, 1), 1.0) for name, t in times.items()}


def test_the_least_time_of_a_convolution_leaves_room_for_winograds() -> None:
    call, _ = convolution(1, 1)
    fast = Limits(1, 1.0, {"memory": 1e9}, {"memory": np.inf})
    taps = 2 * 2 * 4 * 10 * 10 * 9 * 8 * 8
    assert race_turns.least_seconds(call, fast) == pytest.approx(1e-9 * taps / 4)
    strided = replace(call, arguments={**call.arguments, "stride": (2, 2)})
    assert race_turns.shared(strided) == pytest.approx((8 / 5) ** 2)
    slow = Limits(1, 1e9, {"memory": 1.0}, {"memory": np.inf})
    assert race_turns.least_seconds(call, slow) == pytest.approx(1e-9 * call.traffic)


@pytest.mark.parametrize("share", [0.97, 1.03])
def test_faster_than_the_limits_by_more_than_they_may_be_off(share: float) -> None:
    call, _ = convolution(1, 1)
    least = race_turns.least_seconds(call, LIMITS)
    _, timings = convolution(least / MARGIN / share, ladder=2 * least)
    found = race_turns.too_fast(call, timings, ["yours"], LIMITS)
    assert found == ({"yours"} if share > 1 else set())
    # Where the ladder is beyond the limits, these are not to be trusted.
    _, timings = convolution(least / MARGIN / share, ladder=least / 1.1)
    assert not race_turns.too_fast(call, timings, ["yours"], LIMITS)
    place = {"case": "a", "group": "omniglot", "times": 1}
    notes = [row["note"] for row in race_turns.rows_of(call, place, timings, ["yours"], LIMITS)]
    assert notes == ["", ""]


def test_limits_are_measured_again_before_anything_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Twice; the best of each counts, and the row of the limits has it."""
    call, _ = convolution(1, 1)
    least = race_turns.least_seconds(call, LIMITS)
    _, timings = convolution(least / MARGIN / 3, ladder=2 * least)
    factors = [1]
    measured: list[int] = []

    def limits(*_: object) -> Limits:
        measured.append(factors[len(measured)])
        return replace(LIMITS, gflops=100 * measured[-1], gbs={"memory": 10 * measured[-1]})

    monkeypatch.setattr(race_turns, "limits", limits)
    monkeypatch.setattr(race_turns, "take_turns", lambda *_: timings)
    place = {"case": "a", "group": "omniglot", "times": 1}
    for found, count, note in (
        ([1, 4], 2, ""), ([1, 1, 4], 3, ""), ([1, 2, 1], 3, race_turns.IMPOSSIBLE),
    ):  # fmt: skip
        factors[:] = found
        measured.clear()
        racer = Racer("yours", Path("mine.py"), {}, nothing)
        roof, first, _ = race_turns.timed_cases([racer], [(call, place)], 1, True)
        assert len(measured) == count
        assert roof["peak_gflops"] == 100 * max(measured)
        assert (first["variant"], first["note"]) == ("yours", note)


def test_it_is_said_and_ends_in_1(
    write: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    call, _ = convolution(1, 1)
    _, timings = convolution(1e-9, ladder=1.0)
    place = {"case": "omniglot conv2d", "group": "omniglot", "times": 1}
    rows = race_turns.rows_of(call, place, timings, ["yours"], LIMITS)
    monkeypatch.setattr(race, "run", lambda *_: [race_turns.roof(LIMITS), *rows])
    assert main(["race", str(write(RELU)), "--out", str(tmp_path)]) == 1
    told = capsys.readouterr()
    assert "faster than this machine can" in told.out
    assert "bench: yours: faster than this machine can: 1.00 ns for omniglot conv2d" in told.err


def test_a_kernel_on_several_processors_is_told() -> None:
    call, timings = convolution(1.0, ladder=2.0)
    place = {"case": "a", "group": "omniglot", "times": 1}
    for used, note in ((1.1, ""), (1.9, "computes on 1.9 processors at a time")):
        timings["yours"] = timings["yours"][0], used
        first = race_turns.rows_of(call, place, timings, ["yours"], LIMITS)[0]
        assert first["note"].startswith(note)
        assert bool(first["note"]) == bool(note)


# --------------------------------------------------------------------------------- what is told


def row(variant: str, seconds: float, case: str = "a", **more: Any) -> results.Row:
    times = {"seconds": seconds, "low": 0.9 * seconds, "high": 1.1 * seconds}
    place = {"case": f"omniglot {case}", "group": "omniglot", "operation": "conv2d_forward"}
    return {**place, "variant": variant, "times": 1, "share": 0.5, **times, **more}


def test_the_summary_is_of_an_inner_step() -> None:
    """Over its layers, each as often as the step has it."""
    rows = [
        row("numba v3", 0.002), row("yours", 0.001, yours=True), row("numpy v1", 0.009),
        row("yours", 0.004, "b", yours=True, times=2), row("numba v3", 0.001, "b", times=2),
        row("numpy v1", 0.001, "b", times=2),
    ]  # fmt: skip
    assert race.summary([{}, *rows]) == (
        "yours: second of 3, 0.44 times as fast as numba v3: 9.00 ms an inner step against "
        "4.00 ms (conv2d_forward, omniglot)"
    )
    close = [row("yours", 0.001, yours=True), row("numba v3", 0.0011), row("theirs", 0.003)]
    mine, others, both = race.summary(close).splitlines()
    assert mine.startswith("yours: first of 3, 1.1 times as fast as numba v3")
    assert "the quartiles overlap" in mine
    assert others.startswith("theirs: third of 3, 0.33 times as fast as yours")
    assert both.startswith("yours: 3 times as fast as theirs: 1.00 ms an inner")
    assert "overlap" not in both


def test_yours_stand_out_in_the_picture(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from bench import roofline

    figures: list[Any] = []

    def save_figure(new: Any, path: Path) -> Path:
        figures.append(new)
        return path

    monkeypatch.setattr(roofline, "save_figure", save_figure)
    rows: list[results.Row] = [
        {"case": "limits", "variant": "", "threads": 1}, row("numba v1", 0.004),
        row("yours", 0.002, yours=True, times=3), row("theirs", 0.003, yours=True),
        row("yours", 0.005, "b", yours=True),
    ]  # fmt: skip
    assert race.draw(rows, tmp_path, "here") == [tmp_path / "race-ladders.png"]
    (ax,) = figures[0].axes
    lines = {line.get_label(): line for line in ax.get_lines()}
    assert list(lines["yours"].get_xdata()) == pytest.approx([6.0, 5.0])
    assert list(lines["yours"].get_ydata()) == [0, 1]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]
    size, edge = lines["numba v1"].get_markersize(), lines["numba v1"].get_color()
    for name in ("yours", "theirs"):
        assert lines[name].get_markersize() > 2 * size
        assert lines[name].get_color() != edge
    (legend,) = figures[0].legends
    assert [t.get_text() for t in legend.get_texts()] == ["yours", "theirs", "numba v1"]


# ------------------------------------------------------------------------------------- on a GPU


def test_without_a_gpu_it_is_a_sentence(
    write: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(race, "why_not", lambda backend: f"no {backend} here")
    source = str(write("", "mine.cu"))
    for arguments in (
        [source],
        [str(write(RELU)), "--gpu"],
        [str(write(RELU)), "--against", source],
    ):
        assert main(["race", *arguments, "--out", str(tmp_path)]) == 2
        told = capsys.readouterr().err.splitlines()[-1]
        assert told == "bench: kernels for a GPU can be raced on one alone: no cupy here"


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A GPU that is not there, with these limits."""
    if COMPILER is None:
        pytest.skip("g++ is not installed, which compiles the kernels here")
    properties = SimpleNamespace(
        runtime=SimpleNamespace(getDevice=int, getDeviceProperties=lambda _: {"l2CacheSize": 1000})
    )
    monkeypatch.setattr(race_gpu, "cupy", lambda: SimpleNamespace(cuda=properties))
    monkeypatch.setattr(race_gpu, "ceilings", lambda quick: Ceilings(1e9, 1e9, 1e9))
    monkeypatch.setattr(race_gpu.timed_cases, "__defaults__", (lambda: None,))
    with stand_in() as there:
        yield there


def on_gpu(path: Path) -> list[results.Row]:
    return race_turns.race(replace(job(path), gpu=True), nothing)


@pytest.mark.usefixtures("device")
def test_functions_for_arrays_of_a_gpu(write: Any, tiny: list[str], monkeypatch: Any) -> None:
    monkeypatch.setattr(measure, "MOST", 2)
    refuses = "assert type(x).__name__ == 'Array'; np.maximum(x, 0"
    right = write(RELU.replace("np.maximum(x, 0", refuses))
    limits, *rows = on_gpu(right)
    assert limits["gbs_memory"] == 1
    cases = {row["case"] for row in rows}
    for case in cases:
        here = [row for row in rows if row["case"] == case]
        assert {row["variant"] for row in here} >= {"yours", "cupy v1"}
        assert [row["seconds"] for row in here] == sorted(row["seconds"] for row in here)
        assert [row["variant"] for row in here if row["yours"]] == ["yours"]
    assert "yours: " in race.report([limits, *rows])
    with pytest.raises(Mismatch, match=r"y of relu_forward"):
        on_gpu(write(RELU.replace("np.maximum(x, 0", "np.maximum(x, 0.01")))


@pytest.mark.usefixtures("device")
def test_a_cuda_source_stands_in_the_place_of_the_projects(
    write: Any, tiny: list[str], monkeypatch: Any
) -> None:
    """What its file lacks is the project's; here g++ compiles it."""
    monkeypatch.setattr(measure, "MOST", 2)
    asked: list[tuple[str, str]] = []

    def defined(stem: str, kernel: str) -> bool:
        asked.append((stem, kernel))
        return f" {kernel}(" in Path(f"{stem}.cu").read_text()

    monkeypatch.setattr(race_gpu, "defined", defined)
    text = (launch_cupy.HERE / "relu.cu").read_text()
    path = write(text, "mine.cu")
    assert {row["variant"] for row in on_gpu(path)} >= {"yours", "cupy v1"}
    assert (str(path.with_suffix("")), "conv2d_dw_v3") in asked
    wrong = text.replace("x[e] <= 0 ? 0 : x[e]", "x[e] <= 0 ? 1 : x[e]")
    assert wrong != text
    with pytest.raises(Mismatch, match=r"y of relu_forward"):
        on_gpu(write(wrong, "other.cu"))
    with pytest.raises(InputError, match=r"none.cu has no kernel of a name that is launched"):
        on_gpu(write("", "none.cu"))


def test_a_gpu_is_not_faster_than_it_can_be() -> None:
    call, _ = convolution(1, 1)
    most = MARGIN * race_turns.shared(call)
    for share, ladder, said in ((0.97, 0.5, False), (1.03, 0.5, True), (1.03, 1.1, False)):
        found = [row("cupy v1", 2.0), row("yours", 1.0), {"variant": "cupy v2", "note": "failed"}]
        found[0]["share"], found[1]["share"] = ladder, most * share
        first, second = race_gpu.rows_of(call, found, {"yours"})
        assert (first["variant"], first["ratio"], second["ratio"]) == ("yours", 0.5, 1.0)
        assert bool(first["note"]) == said
    failed = {"variant": "yours", "failed": True, "note": "an illegal address"}
    with pytest.raises(InputError, match=r"yours cannot be timed: an illegal address"):
        race_gpu.rows_of(call, [failed], {"yours"})
