"""Whether workers on other machines give the same bits as this one."""

import hashlib
import platform
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from ... import __version__
from ...devices.numba_setup import version
from ...errors import InputError
from .. import console
from ..machine import processor

Kind = Mapping[str, str]  # what decides about bits, by its name
ONE = "minireptile", "its sources", "numpy", "numba"  # must be the same for the same sums


@cache
def kind() -> Kind:
    """Of this process."""
    return {
        "minireptile": __version__,
        "its sources": sources(Path(__file__).parents[2]),
        "numpy": version("numpy"),
        "numba": version("numba") or "absent",
        "python": platform.python_version(),
        "processor": f"{platform.machine()} {processor()}",
    }


def sources(package: Path) -> str:
    """A hash of a package's Python, in which two of one version may differ."""
    digest = hashlib.sha256()
    for folder in (package, package / "kernels"):  # a link, into which a search need not go
        for path in sorted(folder.rglob("*.py")):
            digest.update(path.relative_to(package).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def compare(others: Mapping[str, Kind]) -> None:
    """`InputError` if a worker has another package than this process; another processor is said,
    since bits are promised for one kind alone. `others`: of each worker, by its name."""
    here = kind()
    for name, there in others.items():
        for what in ONE:
            if there.get(what) != here[what]:
                raise InputError(
                    f"the worker {name} has {what} {there.get(what)}, and this process "
                    f"{here[what]}: the run would have other numbers; install the same on both"
                )
    other = [name for name, there in others.items() if there["processor"] != here["processor"]]
    if other:
        console.say(
            f"the worker {other[0]} has another processor ({others[other[0]]['processor']}, here "
            f"{here['processor']}): the last bits of the run may depend on which computes what",
            stderr=True,
        )
