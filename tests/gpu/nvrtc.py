"""The two CUDA compilers that need no GPU: NVRTC, which CuPy compiles with, and nvcc.

NVRTC is spoken to through ctypes, so that CuPy need not be there: it comes with the package
nvidia-cuda-nvrtc. Both say what every kernel takes of a multiprocessor.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

VERBOSE = "--ptxas-options=-v"
# What CuPy adds to the options that a RawModule is given (cupy/cuda/compiler.py).
CUPYS_OWN = ("-ftz=true", "--device-as-default-execution-space")
TRIVIAL = 'extern "C" __global__ void trivial(float *x) { *x = 1; }\n'

KERNEL = re.compile(r"Compiling entry function '(\w+)' for '(\w+)'")
SPILLS = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
USED = re.compile(r"Used (\d+) registers")
SHARED = re.compile(r"(\d+) bytes smem")
WARNING = re.compile(r"\bwarning\b", re.IGNORECASE)


class Refused(Exception):
    """A source that does not compile, or not without a warning: what the compiler said."""


@dataclass(frozen=True)
class Usage:
    """What a kernel takes: registers of a thread, and bytes.

    Attributes
    ----------
    kernel, arch : str
    registers : int
    shared : int
        Of a block, as far as it is known when compiling.
    stack : int
        Local memory of a thread for arrays that are indexed by variables, and for spills.
    spills : int
        Stored and loaded because there were not enough registers.
    """

    kernel: str
    arch: str
    registers: int
    shared: int
    stack: int
    spills: int


def usages(log: str) -> list[Usage]:
    """Every kernel in what ptxas said under -v."""
    found = []
    parts = KERNEL.split(log)  # text, kernel, arch, text, kernel, arch, text, ...
    for kernel, arch, text in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
        registers, spills, shared = USED.search(text), SPILLS.search(text), SHARED.search(text)
        if not registers or not spills:
            raise ValueError(f"ptxas does not say what {kernel} takes: {text!r}")
        stack, stores, loads = map(int, spills.groups())
        smem = int(shared[1]) if shared else 0
        found.append(Usage(kernel, arch, int(registers[1]), smem, stack, stores + loads))
    return found


# ------------------------------------------------------------------------------------------ nvcc


def nvcc(source: str, arch: str, options: Sequence[str]) -> list[Usage]:
    """Compile for a real architecture, "sm_90"; `Refused` at the first error or warning."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "source.cu")
        path.write_text(source, encoding="utf-8")
        done = subprocess.run(
            ["nvcc", "-cubin", f"-arch={arch}", "-Werror", "all-warnings", VERBOSE, CUPYS_OWN[0],
             *options, str(path), "-o", str(path.with_suffix(".cubin"))],
            capture_output=True, text=True, cwd=folder,
        )  # fmt: skip
    log = done.stdout + done.stderr
    if done.returncode or WARNING.search(log):
        raise Refused(log)
    return usages(log)


@cache
def nvcc_version() -> str:
    """Its release, "" if it is not on the PATH or does not compile here."""
    if shutil.which("nvcc") is None:
        return ""
    try:
        nvcc(TRIVIAL, "sm_90", ())
    except Refused:  # without a host compiler, say
        return ""
    said = subprocess.run(["nvcc", "--version"], capture_output=True, text=True).stdout
    release = re.search(r"release (\S+),", said)
    return release[1] if release else "?"


# ----------------------------------------------------------------------------------------- NVRTC


def nvrtc(source: str, arch: str, options: Sequence[str]) -> list[Usage]:
    """Compile as CuPy does, for a real architecture; `Refused` at an error or a warning."""
    library, program = _library(), ctypes.c_void_p()
    every = [*options, *CUPYS_OWN, f"--gpu-architecture={arch}", VERBOSE]
    encoded = (ctypes.c_char_p * len(every))(*(option.encode() for option in every))
    _check(library, library.nvrtcCreateProgram(
        ctypes.byref(program), source.encode(), b"source.cu", 0, None, None
    ))  # fmt: skip
    try:
        failed = library.nvrtcCompileProgram(program, len(every), encoded)
        size = ctypes.c_size_t()
        _check(library, library.nvrtcGetProgramLogSize(program, ctypes.byref(size)))
        text = ctypes.create_string_buffer(size.value)
        _check(library, library.nvrtcGetProgramLog(program, text))
    finally:
        library.nvrtcDestroyProgram(ctypes.byref(program))
    log = text.value.decode()
    if failed or WARNING.search(log):
        raise Refused(log)
    return usages(log)


@cache
def nvrtc_version() -> str:
    """Its release, "" if it is not here."""
    library = _library()
    if library is None:
        return ""
    major, minor = ctypes.c_int(), ctypes.c_int()
    _check(library, library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)))
    return f"{major.value}.{minor.value}"


@cache
def _library() -> Any:
    """NVRTC's shared library, of the package or of the system; None if there is none."""
    for name in (*map(str, _packaged()), ctypes.util.find_library("nvrtc")):
        if name:
            try:
                library = ctypes.CDLL(name)
            except OSError:  # of another system, or without what it needs
                continue
            library.nvrtcGetErrorString.restype = ctypes.c_char_p
            return library
    return None


def _packaged() -> Iterator[Path]:
    """Where the packages nvidia-cuda-nvrtc and nvidia-cuda-nvrtc-cu12 leave the library."""
    spec = find_spec("nvidia")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for pattern in ("*/lib/libnvrtc.so.*", "*/bin/**/nvrtc64_*.dll"):
            yield from sorted(Path(folder).glob(pattern), reverse=True)  # the newest first


def _check(library: Any, result: int) -> None:
    if result:
        raise Refused(library.nvrtcGetErrorString(result).decode())


Compiler = Callable[[str, str, Sequence[str]], list[Usage]]
COMPILERS: dict[str, tuple[Compiler, Callable[[], str]]] = {
    "nvrtc": (nvrtc, nvrtc_version),
    "nvcc": (nvcc, nvcc_version),
}
WHY_NOT = {
    "nvrtc": "NVRTC is not installed; bring it with: pip install nvidia-cuda-nvrtc",
    "nvcc": "nvcc is not on the PATH, or has no compiler for the host beside it",
}
