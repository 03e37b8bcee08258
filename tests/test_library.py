"""The package as a library: its names, and how it is seen from outside."""

from __future__ import annotations

import subprocess
import sys

import minireptile as mr


def test_every_public_name_is_there_and_listed() -> None:
    assert set(mr.LAZY) <= set(mr.__all__) <= set(dir(mr))
    for name in mr.__all__:
        assert getattr(mr, name).__name__.endswith(name)


def test_a_lazy_name_loads_its_module_when_it_is_first_used() -> None:
    code = f"""if True:
        import sys, minireptile as mr
        before = set(sys.modules)
        assert not {set(mr.LAZY.values())} & before, before
        for name, module in mr.LAZY.items():
            getattr(mr, name)
            assert module in sys.modules
        try:
            mr.no_such_name
        except AttributeError as error:
            print(error)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "module 'minireptile' has no attribute 'no_such_name'\n"
