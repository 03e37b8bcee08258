"""What can be wrong before the first kernel is compiled: packages, the environment, the cache."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from minireptile import InputError, MissingPackage, backend, cli
from minireptile.cli import options
from minireptile.devices import numba_setup
from minireptile.runs.settings import Settings


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Nothing remembered from before, and nothing left behind."""
    numba_setup.cache_folder.cache_clear()
    yield
    numba_setup.cache_folder.cache_clear()


def lacking(package: str, found: str = "") -> object:
    """`version` of a machine where a package is missing, or of this version."""

    def version(name: str) -> str:
        return found if name == package else "99.0"

    return version


@pytest.mark.parametrize("package", ["numba", "scipy", "threadpoolctl", "platformdirs"])
def test_a_missing_package(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba_setup, "version", lacking(package))
    words = f"{package} is not installed; bring it with: pip install numba scipy threadpoolctl"
    with pytest.raises(MissingPackage, match=words):
        backend._kernels.__wrapped__("numba", None)
    assert backend.fastest() == "numpy"
    assert Settings().backend == "numpy"


@pytest.mark.parametrize(("package", "found"), [("numba", "0.58.1"), ("scipy", "1.9.3")])
def test_a_package_that_is_too_old(
    package: str, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(numba_setup, "version", lacking(package, found))
    assert f"{package} {found} is too old" in backend.why_not("numba")


def test_a_version_is_compared_by_its_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba_setup, "version", lacking("numba", "0.100.0rc1"))
    assert "too old" not in backend.why_not("numba")


def test_compilation_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    with pytest.raises(InputError, match="NUMBA_DISABLE_JIT is set"):
        numba_setup.prepare()


def test_the_command_line_says_that_it_falls_back(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    assert options.settings_from({"dataset": "sine"}).backend == "numpy"
    assert "using the numpy backend, several times slower: NUMBA_D" in capsys.readouterr().err
    assert options.settings_from({"dataset": "sine", "backend": "numpy"}).backend == "numpy"
    assert not capsys.readouterr().err


def test_asking_for_a_backend_that_cannot_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    out = tmp_path / "run"
    assert cli.main(["train", "sine", "--backend", "numba", "--out", str(out)]) == 2
    assert "or choose --backend numpy" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.skipif(bool(backend.why_not("numba")), reason=backend.why_not("numba"))
@pytest.mark.parametrize(
    "environment",
    [{"NUMBA_NUM_THREADS": "many"}, {"NUMBA_NUM_THREADS": "0"}, {"OPENBLAS_NUM_THREADS": "x"}],
    ids=str,
)
def test_an_environment_of_nonsense(environment: dict[str, str]) -> None:
    """One sentence, and either the default or an error with exit code 2; no traceback."""
    code = "import sys; from minireptile.cli import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, "info"], env={**os.environ, **environment},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    if "NUMBA_NUM_THREADS" in environment:
        assert "NUMBA_NUM_THREADS" in done.stderr + done.stdout


def child(environment: dict[str, str], code: str) -> subprocess.CompletedProcess[str]:
    own = {name: v for name, v in os.environ.items() if not name.startswith("NUMBA_CPU_")}
    return subprocess.run(
        [sys.executable, "-c", code], env=own | environment,
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip


@pytest.mark.skipif(bool(backend.why_not("numba")), reason=backend.why_not("numba"))
@pytest.mark.parametrize(
    "environment",
    [
        {"NUMBA_CPU_NAME": "nonsense"},
        {"NUMBA_CPU_NAME": "nonsense", "NUMBA_CPU_FEATURES": ""},  # LLVM ends the process
        {"NUMBA_CPU_FEATURES": "+nonsense"},
        {"NUMBA_CPU_FEATURES": "nonsense"},  # likewise
    ],
    ids=str,
)
def test_a_processor_that_nobody_knows(environment: dict[str, str]) -> None:
    code = "from minireptile.backend import why_not; print(why_not('numba'))"
    done = child(environment, code)
    asked = " ".join(f"{name}={value!r}" for name, value in environment.items())
    assert done.stdout == f"{asked} is nothing that LLVM can compile for here; unset it\n"
    assert not done.returncode
    assert not done.stderr


MORE = (("fma", "haswell"), ("avx512f", "skylake-avx512"))
NARROW = {"NUMBA_CPU_NAME": "nehalem", "NUMBA_CPU_FEATURES": ""}


def beyond() -> str:
    """A processor that has more than this one; "" where there is none."""
    from llvmlite import binding

    has = binding.get_host_cpu_features()
    return next((cpu for need, cpu in MORE if not has.get(need, True)), "")


@pytest.mark.skipif(bool(backend.why_not("numba")), reason=backend.why_not("numba"))
def test_a_processor_that_this_one_cannot_be() -> None:
    name = beyond()
    if not name:
        pytest.skip("this processor can be any that the test knows")
    code = "from minireptile.cli import main; main(['train', 'sine', '--backend', 'numba'])"
    done = child({"NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": ""}, code)
    assert "has instructions that this processor lacks; unset it; or choose" in done.stderr
    code = "from minireptile.backend import why_not; print(why_not('numba'))"
    assert child({"NUMBA_CPU_NAME": name}, code).stdout == "\n"  # with what this one has


NARROW_TILES = """
import numpy as np
from minireptile.backend import versions
from minireptile.kernels.vectors_numba import HERE
rng = np.random.default_rng(1)
shapes = (2, 3, 5, 4, 3), (2, 3, 3, 3, 11), (2, 11), (2, 3, 5, 4, 11)
x, w, b, dy = (rng.uniform(-1, 1, shape) for shape in shapes)
def made(backend, version, dtype):
    a, k, c, d = (array.astype(dtype) for array in (x, w, b, dy))
    y, dx, dw, db = (np.full_like(array, np.nan) for array in (d, a, k, c))
    versions("conv2d_forward", backend)[version](y, None, a, k, c, (1, 1), (1, 1))
    versions("conv2d_backward", backend)[version](dx, dw, db, None, d, a, k, (1, 1), (1, 1))
    return y, dx, dw, db
for dtype in (np.float32, np.float64):
    # Sums of 99 products below 1 at most: 4 (n + 8) eps magnitude, as in the contract.
    bound = 4 * (99 + 8) * np.finfo(dtype).eps * 99
    for one, other in zip(made("numba", "v3", dtype), made("numpy", "v1", np.float64)):
        assert abs(one - other).max() <= bound, (dtype, abs(one - other).max())
print(*HERE)
"""


@pytest.mark.skipif(bool(backend.why_not("numba")), reason=backend.why_not("numba"))
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="nehalem is x86")
@pytest.mark.long
def test_a_processor_without_a_multiply_add() -> None:
    done = child(NARROW, NARROW_TILES)
    assert done.stdout == "16 False 16\n", done.stderr


@pytest.mark.skipif(bool(backend.why_not("numba")), reason=backend.why_not("numba"))
def test_the_cache_lies_where_the_user_wants_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    folder = numba_setup.cache_folder()
    assert folder.parent == tmp_path
    assert folder.is_dir()


@pytest.mark.skipif(bool(backend.why_not("numba")), reason=backend.why_not("numba"))
def test_a_cache_folder_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "file"))
    folder = numba_setup.cache_folder()
    assert folder.is_dir()
    assert tmp_path not in folder.parents
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.skipif(bool(backend.why_not("numba")), reason=backend.why_not("numba"))
@pytest.mark.parametrize("name", ["new_numba.py", "program.py", "winograd_numpy.py"])
def test_the_cache_is_another_one_when_any_kernel_changes(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "minireptile"
    (package / "kernels").mkdir(parents=True)
    monkeypatch.setattr(numba_setup, "__file__", str(package / "devices" / "numba_setup.py"))
    before = numba_setup._fingerprint()
    (package / "kernels" / name).write_text("x = 1")
    after = numba_setup._fingerprint()
    (package / "kernels" / name).write_text("x = 2")
    assert len({before, after, numba_setup._fingerprint()}) == 3


@pytest.mark.skipif(bool(backend.why_not("numba")), reason=backend.why_not("numba"))
@pytest.mark.parametrize("setting", numba_setup.CODEGEN)
def test_the_cache_is_another_one_for_other_machine_code(
    setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import numba

    before = numba_setup._fingerprint()
    monkeypatch.setattr(numba.config, setting, "another")
    assert numba_setup._fingerprint() != before
    monkeypatch.undo()
    assert numba_setup._fingerprint() == before


@pytest.mark.skipif(bool(backend.why_not("numba")), reason=backend.why_not("numba"))
def test_the_cache_is_another_one_on_another_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    from llvmlite import binding

    def unknown() -> None:
        raise RuntimeError

    found = {numba_setup._fingerprint()}
    monkeypatch.setattr(binding, "get_host_cpu_name", lambda: "another")
    found.add(numba_setup._fingerprint())
    monkeypatch.setattr(binding, "get_host_cpu_features", unknown)
    found.add(numba_setup._fingerprint())
    assert len(found) == 3
