"""What the Numba backend needs before its first kernel is imported: packages and a cache folder.

Compiled code is kept in a folder named after everything it was made from, since Numba itself only
looks at the file that a function stands in and not at the files it calls into.
"""

import os
import platform
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from ..errors import InputError, MissingPackage, pip

NEEDED = {"numba": (0, 59), "scipy": (1, 10), "threadpoolctl": (3, 1), "platformdirs": (3, 0)}
INSTALL = pip("numba", "scipy", "threadpoolctl", "platformdirs")
# Numba's settings that make other machine code of the same source.
CODEGEN = ("CPU_NAME", "CPU_FEATURES", "ENABLE_AVX", "OPT", "LOOP_VECTORIZE", "SLP_VECTORIZE")


def version(package: str) -> str:
    """Its version, "" if it is not installed. Imported late, as all that is slow to import here."""
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def why_not() -> str:
    """Why the Numba backend cannot be used here, in one sentence; "" if it can."""
    for package, least in NEEDED.items():
        found = version(package)
        if not found:
            return f"{package} is not installed; bring it with: {INSTALL}"
        if _numbers(found) < least:
            wanted = ".".join(map(str, least))
            return f"{package} {found} is too old, {wanted} is needed; bring it with: {INSTALL}"
    if os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0"):
        return "NUMBA_DISABLE_JIT is set, and nothing can be compiled; unset it"
    threads = os.environ.get("NUMBA_NUM_THREADS", "1")
    if not threads.isdecimal() or int(threads) < 1:
        return f"NUMBA_NUM_THREADS is {threads!r} and must be a whole number above 0; unset it"
    return _import_trouble() or _forced_trouble()


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(n) for n in re.findall(r"\d+", text)[:2])


@cache
def _import_trouble() -> str:
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            import_module("numba")
            import_module("scipy.linalg.cython_blas")
    except Exception as error:  # whatever it is, it comes from another package's start
        return f"numba or scipy does not start here: {error}"
    for warning in caught:
        first_line = str(warning.message).strip().partition("\n")[0]
        print(f"minireptile: {first_line}", file=sys.stderr)
    return ""


@cache
def _forced_trouble() -> str:
    """What is wrong with a processor that Numba was told to compile for: its code would end this
    process, or LLVM would, so another one tries."""
    config: Any = import_module("numba").config
    binding: Any = import_module("llvmlite.binding")
    settings = {"NUMBA_CPU_NAME": config.CPU_NAME, "NUMBA_CPU_FEATURES": config.CPU_FEATURES}
    asked = " ".join(f"{name}={value!r}" for name, value in settings.items() if value is not None)
    if not asked:
        return ""
    name = binding.get_host_cpu_name() if config.CPU_NAME is None else config.CPU_NAME
    features = _features() if config.CPU_FEATURES is None else config.CPU_FEATURES
    program = Path(__file__).with_name("forced_processor.py")
    done = import_module("subprocess").run(
        [sys.executable, str(program), name, features], capture_output=True, text=True, check=False
    )
    if done.returncode or "not a recognized" in done.stderr:
        return f"{asked} is nothing that LLVM can compile for here; unset it"
    if done.stdout:
        return f"{asked} has instructions that this processor lacks; unset it"
    return ""


def _features() -> str:
    """What the processor can do, as LLVM writes it; "" where LLVM does not know."""
    try:
        return import_module("llvmlite.binding").get_host_cpu_features().flatten()
    except RuntimeError:  # Numba then uses none
        return ""


def prepare() -> None:
    """Make `import_module` of a Numba kernel possible; once is enough. `MissingPackage` or
    `InputError` if the backend cannot be used here: the sentence of `why_not`."""
    reason = why_not()
    if reason:
        error = MissingPackage if "pip install" in reason else InputError
        raise error(f"the numba backend cannot be used: {reason}; or choose --backend numpy")


@cache
def cache_folder() -> Path:
    """Where compiled code is kept: below NUMBA_CACHE_DIR or the user's cache folder.

    Where that cannot be written, a folder that is gone with the process, and a word about it.
    """
    users = import_module("platformdirs").user_cache_path("minireptile") / "numba"
    folder = Path(os.environ.get("NUMBA_CACHE_DIR") or users) / f"minireptile-{_fingerprint()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with import_module("tempfile").TemporaryFile(dir=folder):
            pass
    except OSError as error:
        print(
            f"minireptile: the cache folder {folder} cannot be written ({error.strerror}), so the "
            "kernels are compiled anew in every run; set NUMBA_CACHE_DIR to a folder of yours",
            file=sys.stderr,
        )
        return Path(_temporary().name)
    return folder


@cache
def _temporary() -> Any:
    return import_module("tempfile").TemporaryDirectory(prefix="minireptile-")


def _fingerprint() -> str:
    """A short hash of the kernels' sources, of what compiles them, and for which processor: a home
    folder may be shared by machines, and code with wider vectors than one has would end it."""
    kernels = Path(__file__).parents[1] / "kernels"
    names = ("*_numba.py", "program.py", "tiles.py", "winograd_numpy.py")
    sources = sorted(path for name in names for path in kernels.glob(name))
    digest = import_module("hashlib").sha256()
    for package in ("numba", "llvmlite", "numpy", "scipy"):
        digest.update(f"{package} {version(package)} ".encode())
    digest.update(_processor().encode())
    for path in sources:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _processor() -> str:
    """The processor that Numba compiles for: its name, what it can do, and what was asked for."""
    binding: Any = import_module("llvmlite.binding")
    config: Any = import_module("numba").config
    asked = [f"{name}={getattr(config, name, None)}" for name in CODEGEN]
    return " ".join([platform.machine(), binding.get_host_cpu_name(), _features(), *asked])


@contextmanager
def caching() -> Iterator[None]:
    """Import Numba kernels inside, and they are kept in `cache_folder`."""
    config: Any = import_module("numba").config
    before, config.CACHE_DIR = config.CACHE_DIR, str(cache_folder())
    try:
        yield
    finally:
        config.CACHE_DIR = before


@cache
def announce() -> list[str]:
    """From now on, say so before the first kernel that has to be compiled. Returns what was said,
    always the same list."""
    event: Any = import_module("numba.core.event")
    text = "compiling the Numba kernels, once, in about half a minute"
    said: list[str] = []

    class Listener(event.Listener):
        def on_start(self, e: Any) -> None:
            if not said:
                said.append(text)
                print(f"minireptile: {text}", file=sys.stderr)

        def on_end(self, e: Any) -> None:
            pass

    event.register("numba:compile", Listener())
    return said
