"""A kernel's source as a shared library for the CPU, and mistakes made in it on purpose."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from numpy.typing import DTypeLike

from minireptile.kernels import launch_cupy

NEEDED = "g++ on Linux, on x86-64 or AArch64"  # cuda_cpu.cpp says why
SUPPORTED = sys.platform == "linux" and platform.machine() in ("x86_64", "aarch64")
COMPILER = shutil.which("g++") if SUPPORTED else None
HEADER, RUNTIME = (Path(__file__).with_name(name) for name in ("cuda_cpu.h", "cuda_cpu.cpp"))
FLAGS = ["-std=c++17", "-fPIC", "-Wall", "-Wextra", "-Werror", f"-I{HEADER.parent}"]
# A source holds more than its kernels need, and pragmas for another compiler.
KERNEL_FLAGS = [*FLAGS, "-Wno-unknown-pragmas", "-Wno-unused-function"]


class Refused(Exception):
    """What the compiler said."""


class Change(NamedTuple):
    """A mistake made on purpose: in a source file, other text at one place (counted from 0)."""

    file: str
    old: str
    new: str
    place: int = 0

    def made(self, source: str) -> str:
        """A text of `launch_cupy.source` with the mistake in it, if the file is part of it."""
        before, mark, text = source.partition(f'#line 1 "{self.file}"\n')
        if not mark:
            return source
        text, next_mark, behind = text.partition("\n#line 1 ")
        parts = text.split(self.old)
        if self.place + 1 >= len(parts):
            raise ValueError(f"{self.file} has not so many {self.old!r}")
        text = self.old.join(parts[: self.place + 1]) + self.new
        text += self.old.join(parts[self.place + 1 :])
        return before + mark + text + next_mark + behind


Changes = tuple[Change, ...]


def build(name: str, dtype: DTypeLike, changes: Changes = (), sanitize: bool = False) -> Path:
    """NAME.cu as a shared library, compiled unless that was done before."""
    source = launch_cupy.source(name)
    for change in changes:
        source = change.made(source)
    options = launch_cupy.options(dtype)[1:]
    flags = ["-O1", *KERNEL_FLAGS, *options]
    if sanitize:
        # Arrays in sections of their own are not watched unless asked for.
        flags += ["-g1", "-fsanitize=address", "-fsanitize-sections=block_shared"]
    runtime = _made("runtime.o", RUNTIME.read_text(encoding="utf-8"), [*FLAGS, "-O3", "-c"])
    return _made(
        f"{Path(name).name}.so",
        lambda: _program(source, options),
        [*flags, "-shared", str(runtime)],
        source,
    )


def _made(result: str, text: str | Callable[[], str], flags: list[str], known: str = "") -> Path:
    """The compiler's result, from a folder of results named after all that they depend on."""
    header = HEADER.read_text(encoding="utf-8")
    parts = [known or text, header, *flags]
    key = hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"minireptile-cuda-on-cpu-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    assert folder.stat().st_uid == os.getuid(), f"{folder} is somebody else's"
    path = folder / f"{key}-{result}"
    if not path.exists():
        with tempfile.TemporaryDirectory(dir=folder) as made:
            source, new = Path(made, "source.cpp"), Path(made, "new")
            source.write_text(text if isinstance(text, str) else text(), encoding="utf-8")
            _compile(str(source), *flags, "-o", str(new))
            new.replace(path)
    return path


def _program(source: str, options: tuple[str, ...]) -> str:
    """A source with the header before it and a launcher for each of its kernels behind it.

    Inside a namespace without a name, its functions and with them their __shared__ arrays are this
    file's own: those of inline functions and templates could not share a section with others.
    """
    # Kernels may be made by macros: look for their names once these are expanded.
    command = "-E", "-P", "-x", "c++", "-D__global__=__global__", *options, "-"
    kernels = re.findall(r'extern "C" __global__ void (\w+)\(', _compile(*command, text=source))
    launchers = "".join(
        f'extern "C" const char *signature_{k}() {{ return cuda_cpu::signature({k}); }}\n'
        f'extern "C" const char *launch_{k}(const unsigned *s, unsigned long long o, void **a) '
        f"{{ return cuda_cpu::launch({k}, s, o, a); }}\n"
        for k in kernels
    )
    return f'#include "{HEADER.name}"\nnamespace {{\n{source}\n}}\n{launchers}'


def _compile(*arguments: str, text: str = "") -> str:
    """Run the compiler, itself without the sanitizer."""
    environment = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
    done = subprocess.run(
        [str(COMPILER), *arguments], input=text, capture_output=True, text=True, env=environment
    )
    if done.returncode:
        raise Refused(done.stderr)
    return done.stdout
