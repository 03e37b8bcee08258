"""The numba-cuda backend without a GPU: simulated, compiled, and what it says of itself.

The simulator has to be asked for before Numba starts, so that part runs in processes of its own;
its tests are in tests/gpu/cudasim.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minireptile.devices import numba_cuda as backend
from minireptile.errors import InputError
from minireptile.kernels.operations import MODULES

ROOT = Path(__file__).parents[2]


def marked(*parameters: Any) -> list[Any]:
    """Parameters of tests that take longer."""
    return [pytest.param(p, marks=pytest.mark.long) for p in parameters]


@pytest.fixture
def numba_cuda() -> None:
    pytest.importorskip("numba", reason="numba is not installed")
    pytest.importorskip("numba_cuda", reason="numba-cuda is not installed")


# ------------------------------------------------------------------------------- in the simulator


@pytest.mark.usefixtures("numba_cuda")
@pytest.mark.parametrize("file", ["pieces.py", *marked("contract.py", "barriers.py", "whole.py")])
def test_simulated(file: str) -> None:
    path = ROOT / "tests" / "gpu" / "cudasim" / file
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(path)],
        cwd=ROOT, env={**os.environ, "NUMBA_ENABLE_CUDASIM": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^\d+ passed", done.stdout, re.M), done.stdout


# ----------------------------------------------------------------------------- compiled, not run


@pytest.fixture
def compiler(numba_cuda: None) -> None:
    try:
        import_module("numba.cuda.cudadrv.nvvm").NVVM()
        import_module("cuda.bindings.nvrtc").nvrtcVersion()
    except Exception as error:
        pytest.skip(f"the compilers NVVM and NVRTC are not installed: {error}")


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("capability", marked((7, 5), (8, 0), (9, 0)))
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_compiles(dtype: type, capability: tuple[int, int]) -> None:
    from tests.gpu.cudasim.signatures import signatures, to_ptx

    kernels = signatures(dtype)
    modules = {name.partition("_cuda.")[0] for name in kernels.values()}
    assert modules == {*MODULES, "sums", "reptile"}
    for (kernel, signature), name in kernels.items():
        ptx = to_ptx(kernel, signature, capability)
        assert f".target sm_{capability[0]}{capability[1]}" in ptx, name
        assert "__local_depot" not in ptx, f"{name} keeps something outside its registers"
        if dtype is np.float32:
            check_single_precision(name, ptx)
        if name.startswith("conv2d") and name.endswith("_v2"):
            assert ptx.count("fma.rn.") >= 16, f"{name}: the loop over a tile is not unrolled"


def check_single_precision(name: str, ptx: str) -> None:
    """No double arithmetic. Adam's rate is computed in it, but from no single-precision number."""
    exempt = name in ("adam_cuda._with_m", "adam_cuda._without_m")
    sign = "cvt.f64.f32" if exempt else ".f64"
    doubles = [line.strip() for line in ptx.splitlines() if sign in line]
    assert not doubles, f"{name}: {doubles[:9]}"
    assert not exempt or ptx.count("sqrt.rn.f64") == ptx.count("sqrt.rn.f32") == 1, name


@pytest.mark.usefixtures("numba_cuda")
def test_every_kernel_is_compiled() -> None:
    from tests.gpu.cudasim.signatures import WITH_KERNELS, signatures

    written = {
        f"{name}_cuda.{kernel}"
        for name in WITH_KERNELS
        for kernel in re.findall(
            r"^@cuda\.jit\ndef (\w+)", (ROOT / "kernels" / f"{name}_cuda.py").read_text(), re.M
        )
    }
    assert set(signatures(np.float32).values()) == written


# ------------------------------------------------------------------------------ can it be used?


class FakeDriver:
    """What why_not() asks libcuda."""

    def __init__(
        self,
        cuda: int = 13000,
        gpus: int = 1,
        capability: tuple[int, int] = (9, 0),
        result: int = 0,
    ) -> None:
        self.cuda, self.gpus, self.result = cuda, gpus, result
        self.capability = dict(zip(backend.CAPABILITY, capability, strict=True))

    def cuInit(self, flags: int) -> int:
        return self.result

    def cuDriverGetVersion(self, number: Any) -> int:
        number._obj.value = self.cuda
        return 0

    def cuDeviceGetCount(self, number: Any) -> int:
        number._obj.value = self.gpus
        return 0

    def cuDeviceGetAttribute(self, number: Any, attribute: int, device: int) -> int:
        number._obj.value = self.capability[attribute]
        return 0


PACKAGES = {"numba": "0.68", "numba-cuda": "0.30", "nvidia-nvvm": "13.0"}
CUDA12 = {"numba": "0.68", "numba-cuda": "0.30", "nvidia-cuda-nvcc-cu12": "12.9"}
CASES = {
    "fine": (FakeDriver(), PACKAGES, ""),
    "older compiler": (FakeDriver(), CUDA12, ""),
    "own toolkit": (FakeDriver(), {"numba": "0.68", "numba-cuda": "0.30"}, ""),
    "no numba": (FakeDriver(), {}, r"numba is not installed; .*\"numba-cuda\[cu13\]"),
    "no numba-cuda": (None, {"numba": "1"}, r"numba-cuda is not installed; .*\[cu13\]"),
    "no numba-cuda, CUDA 12": (
        FakeDriver(12040), {"numba": "1"}, r"numba-cuda is not installed; .*\[cu12\]"
    ),
    "no driver": (None, PACKAGES, "no NVIDIA driver .*; install one"),
    "hidden": (FakeDriver(result=100), PACKAGES, "finds no GPU; .*CUDA_VISIBLE_DEVICES"),
    "none": (FakeDriver(gpus=0), PACKAGES, "finds no GPU; "),
    "broken": (FakeDriver(result=803), PACKAGES, r"does not start \(error 803\); .*nvidia-smi"),
    "too old": (FakeDriver(capability=(6, 1)), PACKAGES, "too old: .* 6.1, 7.5 is needed; "),
    "too old by a little": (FakeDriver(capability=(7, 0)), PACKAGES, "too old: .* 7.0, 7.5 is"),
    "old driver": (FakeDriver(12040), PACKAGES, r"CUDA 13, .*only knows CUDA 12.4; .*\[cu12\]"),
    "driver for CUDA 12": (FakeDriver(12040), CUDA12, ""),
    "very old driver": (FakeDriver(11080), PACKAGES, "only knows CUDA 11.8; update it"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_why_not(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    driver, packages, sentence = CASES[case]
    monkeypatch.delenv("NUMBA_ENABLE_CUDASIM", raising=False)
    monkeypatch.setattr(backend, "_driver", lambda: driver)
    monkeypatch.setattr(backend, "_version", lambda package: packages.get(package, ""))
    monkeypatch.setattr(backend, "_import_trouble", lambda: "")
    monkeypatch.setattr(backend, "_trial_trouble", lambda: "")
    said = backend.why_not()
    assert re.search(sentence, said) if sentence else not said, said
    assert "\n" not in said


def test_why_not_in_the_simulator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_ENABLE_CUDASIM", "1")
    monkeypatch.setattr(backend, "_driver", lambda: pytest.fail("there is no driver to ask"))
    monkeypatch.setattr(backend, "_version", lambda package: "1.0")
    monkeypatch.setattr(backend, "_import_trouble", lambda: "")
    assert backend.why_not() == ""


@pytest.mark.parametrize(
    ("function", "begins"),
    [("_import_trouble", "numba-cuda does not start"), ("_trial_trouble", "numba-cuda cannot run")],
)
def test_trouble_of_others_becomes_a_sentence(
    function: str, begins: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> Any:
        raise RuntimeError("\nlibnvvm cannot be found:\n\nReally.\nand more\n")

    monkeypatch.setattr(backend, "_cuda", broken)
    monkeypatch.setattr(backend, "_module", lambda name: broken())
    monkeypatch.setattr(backend, "_driver", lambda: None)
    said = getattr(backend, function).__wrapped__()
    assert said.startswith(begins)
    assert "(libnvvm cannot be found Really)" in said
    assert 'pip install "numba-cuda[cu13]"' in said


def test_here_it_can_be_used_or_says_why_not() -> None:
    said = backend.why_not()
    assert "\n" not in said
    if not said:
        assert backend.device().name


def test_errors_of_the_gpu_are_sentences() -> None:
    # As numba.cuda.cudadrv.driver.CudaAPIError is, which is only there with a driver.
    api_error: Any = type("CudaAPIError", (Exception,), {"__module__": "numba.cuda.cudadrv.driver"})
    errors = backend.NumbaCudaDevice.errors
    with pytest.raises(InputError, match=r"out of memory \(.*\); lower --meta-batch"), errors():
        raise api_error("[2] Call to cuMemAlloc results in CUDA_ERROR_OUT_OF_MEMORY")
    with pytest.raises(InputError, match=r"reports an error \(.*ILLEGAL.*--backend"), errors():
        raise api_error("[700] Call to cuMemcpyDtoH results in CUDA_ERROR_ILLEGAL_ADDRESS")
    with pytest.raises(ZeroDivisionError), errors():
        raise ZeroDivisionError


class Card:
    """A GPU that Numba is said to have found."""

    name, compute_capability = b"NVIDIA A100", (8, 0)

    def get_current_device(self) -> Card:
        return self

    current_context = get_current_device

    def get_memory_info(self) -> tuple[int, int]:
        return 2**33, 2**35


def test_the_card_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NUMBA_ENABLE_CUDASIM", raising=False)
    monkeypatch.setattr(backend, "_cuda", Card)
    monkeypatch.setattr(backend, "_driver", lambda: FakeDriver(13010))
    monkeypatch.setattr(backend, "_version", lambda package: "0.30")
    assert backend.NumbaCudaDevice().describe() == (
        "NVIDIA A100, compute capability 8.0, 32 GiB, driver for CUDA 13.1, numba-cuda 0.30"
    )
