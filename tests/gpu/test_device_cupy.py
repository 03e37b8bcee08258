"""What is said where CuPy cannot be used, and what it says of itself, with a stand-in for it."""

from __future__ import annotations

import gc
import sys
import weakref
from types import SimpleNamespace
from typing import Any

import pytest

from minireptile import Dense, InputError, MissingPackage, Model, backend, cli
from minireptile.cli import options
from minireptile.devices import cupy as device_cupy
from minireptile.runs.settings import Settings


class NoDriver(Exception):
    pass


class OutOfMemory(Exception):
    pass


class DoesNotCompile(Exception):
    pass


class Array(list):
    pass


def cupy(**changes: Any) -> Any:
    """A CuPy on a machine where all is well, but for the changes."""

    def raising(error: Exception) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            raise error

        return call

    def made(name: str, value: Any) -> Any:
        found = changes.get(name, value)
        return raising(found) if isinstance(found, Exception) else lambda *a, **o: found

    runtime = SimpleNamespace(
        getDeviceCount=made("count", 1),
        getDevice=lambda: 0,
        getDeviceProperties=lambda i: {
            "name": b"A Card",
            "major": 9,
            "minor": 0,
            "totalGlobalMem": 2**34,
        },
        runtimeGetVersion=lambda: 13020,
        driverGetVersion=lambda: 12040,
        CUDARuntimeError=NoDriver,
    )
    card = SimpleNamespace(compute_capability=changes.get("capability", "90"))
    ran: Any = changes.get("ran", 1)

    def kernel(grid: Any, block: Any, arguments: Any) -> None:
        if isinstance(ran, Exception):
            raise ran
        arguments[0][0] = ran

    module = SimpleNamespace(get_function=lambda name: kernel)
    return SimpleNamespace(
        __version__="14.0",
        ndarray=Array,
        zeros=lambda n, dtype: [0] * n,
        RawModule=lambda code: module,
        cuda=SimpleNamespace(
            runtime=runtime,
            driver=SimpleNamespace(CUDADriverError=KeyError),
            memory=SimpleNamespace(OutOfMemoryError=OutOfMemory),
            compiler=SimpleNamespace(CompileException=DoesNotCompile),
            Device=made("card", card),
            Stream=SimpleNamespace,
        ),
    )


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Any:
    caches = device_cupy.why_not, device_cupy.device
    for cached in caches:
        cached.cache_clear()
    monkeypatch.setattr(device_cupy, "installed", lambda: ["cupy-cuda13x 14.0"])
    yield
    for cached in caches:
        cached.cache_clear()


CASES: dict[str, tuple[dict[str, Any], str]] = {
    "all is well": ({}, ""),
    "no GPU": ({"count": NoDriver("cudaErrorNoDevice: no CUDA-capable device is detected")},
               "there is no NVIDIA GPU"),
    "none allowed": ({"count": 0}, "there is no NVIDIA GPU that this process may use"),
    "no driver": (
        {"count": NoDriver("cudaErrorInsufficientDriver: CUDA driver version is insufficient")},
        "CuPy for CUDA 13.2 finds no driver that fits (cudaErrorInsufficientDriver",
    ),
    "too old": ({"capability": "61"}, "the A Card has compute capability 6.1, and 7.5 is needed"),
    "no answer": ({"card": NoDriver("cudaErrorDevicesUnavailable: busy")}, "does not answer"),
    "no compiler": ({"ran": RuntimeError("libnvrtc.so.13: cannot open\nmore")},
                    "cannot compile and run a kernel here (libnvrtc.so.13: cannot open)"),
    "wrong numbers": ({"ran": 7}, "wrote a wrong number"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_why_not(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    changes, words = CASES[case]
    monkeypatch.setitem(sys.modules, "cupy", cupy(**changes))
    said = device_cupy.why_not()
    assert bool(said) == bool(words)
    assert words in said
    assert "\n" not in said


def test_cupy_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_cupy, "installed", list)
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert "CuPy is not installed" in device_cupy.why_not()
    with pytest.raises(MissingPackage, match=r"the cupy backend cannot be used.*pip install"):
        Model([Dense(2)], (3,), backend="cupy")


def test_two_of_them_are(monkeypatch: pytest.MonkeyPatch) -> None:
    both = ["cupy-cuda12x 13.6", "cupy-cuda13x 14.0"]
    monkeypatch.setattr(device_cupy, "installed", lambda: both)
    assert "pip uninstall cupy-cuda12x cupy-cuda13x; then install one" in device_cupy.why_not()


def test_it_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(name: str) -> Any:
        raise ImportError("libcudart.so.13: cannot open shared object file")

    monkeypatch.setattr(device_cupy, "import_module", fails)
    assert "CuPy does not start here: libcudart.so.13" in device_cupy.why_not()


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OutOfMemory("Out of memory allocating 5 bytes"), "out of memory.*lower --meta-batch"),
        (DoesNotCompile("log:\nconv2d.cu(12): error: no\n"), r"compile.*conv2d.cu\(12\): error"),
        (NoDriver("cudaErrorIllegalAddress"), "the GPU reports an error.*IllegalAddress"),
    ],
)
def test_errors_are_sentences(
    error: Exception, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cupy", cupy())
    with pytest.raises(InputError, match=words) as raised, device_cupy.plain_errors():
        raise error
    assert "\n" not in str(raised.value)


def test_tf32_needs_a_card_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", cupy(capability="75"))
    device = device_cupy.device()
    assert vars(device.kernels())["conv2d_forward"].__name__ == "forward"
    with pytest.raises(InputError, match=r"TF32 needs compute capability 8.0.*has 7.5"):
        device.kernels(tf32=True)
    monkeypatch.setitem(sys.modules, "cupy", cupy())
    device_cupy.device.cache_clear()
    newer = device_cupy.device().kernels(tf32=True)
    assert newer.conv2d_forward is newer.conv2d_forward_tf32


def test_it_describes_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", cupy())
    assert backend.describe("cupy") == (
        "ready, A Card, compute capability 9.0, 16 GiB, driver for CUDA 12.4, "
        "CuPy 14.0 for CUDA 13.2"
    )


def test_auto_takes_it_for_images_and_not_for_sine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", cupy())
    assert Settings(dataset="glyphs").backend == "cupy"
    assert Settings(dataset="sine", network="sine").backend != "cupy"


def test_auto_falls_back_to_the_cpu_and_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "cupy", cupy(capability="61"))
    assert options.settings_from({"dataset": "glyphs"}).backend == "numba"
    said = capsys.readouterr().err
    assert said.startswith("minireptile: using the numba backend, on the CPU: the A Card has")
    monkeypatch.setattr(options, "gpu_expected", lambda: False)
    options.settings_from({"dataset": "glyphs"})
    assert capsys.readouterr().err == ""


def test_tf32_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", "glyphs", "--tf32", "--backend", "numpy"]) == 2
    assert "--tf32 is for --backend cupy, not for numpy" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------ graphs


class Stream:
    """Records nothing, and knows what it launched."""

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None: ...

    def begin_capture(self) -> None: ...

    def end_capture(self) -> Any:
        return SimpleNamespace(launch=lambda stream: None)


class Memory:
    """An array, of which a graph would know the address."""


def test_a_graph_keeps_what_it_points_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a call is made of may be nobody else's: the arrays between its layers."""
    there = cupy()
    there.cuda.Stream = Stream
    monkeypatch.setitem(sys.modules, "cupy", there)
    array = Memory()
    known = weakref.ref(array)

    def recorded(kept: Memory) -> Any:
        def call() -> None:
            assert kept

        return device_cupy.CupyDevice().capture(call)

    replay = recorded(array)
    del array
    gc.collect()
    assert known() is not None
    replay()
    del replay
    gc.collect()
    assert known() is None


@pytest.mark.parametrize(("rank", "card"), [(0, None), (1, 1), (2, 0), (5, 1)])
def test_workers_take_turns_at_the_cards(
    monkeypatch: pytest.MonkeyPatch, rank: int, card: int | None
) -> None:
    used: list[int] = []
    there = cupy(count=2)
    plain = there.cuda.Device()

    def device(*number: int) -> Any:
        return SimpleNamespace(**vars(plain), use=lambda: used.extend(number))

    there.cuda.Device = device
    monkeypatch.setitem(sys.modules, "cupy", there)
    monkeypatch.setattr(device_cupy, "rank", rank)
    assert device_cupy.why_not() == ""
    assert used == ([] if card is None else [card])
