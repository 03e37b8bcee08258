"""A layer and an optimizer from outside the package: those of minireptile/layers/README.md."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import minireptile as mr
from minireptile.backend import why_not
from minireptile.engine import Walked
from minireptile.runs import checkpoint
from minireptile.runs.settings import Settings
from tests.small import assert_same_state, random_batch, random_phi, relative, tiny_tasks

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "minireptile" / "layers" / "README.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"```python\n# (\w+\.py)\n(.*?)```", PAGE, re.DOTALL))
BACKENDS = [b for b in ("numpy", "numba", "cupy", "numba-cuda") if not why_not(b)]
every_backend = pytest.mark.parametrize("backend", BACKENDS)


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    path = tmp_path_factory.mktemp("own") / "mine.py"
    path.write_text(FILES["mine.py"])
    spec = importlib.util.spec_from_file_location("mine", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["mine"] = module  # as dataclasses want it
    spec.loader.exec_module(module)
    yield module
    del sys.modules["mine"]


def model_of(mine: Any, backend: str) -> mr.Model:
    """A convolution, batch norm and somebody else's rectifier, in double precision."""
    layers = [mr.Conv2D(3, 3, stride=2), mr.BatchNorm(), mine.PReLU(), mr.Flatten(), mr.Dense(3)]
    said = (
        nullcontext()
        if backend == "numpy"
        else pytest.warns(UserWarning, match="^prelu1: the .* backend does not know such a layer")
    )
    with said:
        return mr.Model(layers, (6, 6, 1), backend=backend, dtype="float64")


def test_the_page_runs(tmp_path: Path) -> None:
    for name, code in FILES.items():
        (tmp_path / name).write_text(code)
    done = subprocess.run(
        [sys.executable, "-W", "error", "try_mine.py"], cwd=tmp_path, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    gradients, run, hessian = done.stdout.splitlines()
    assert gradients.startswith("PReLU(): gradients are right by the complex step (dx ")
    assert run == "iteration 300, state ['v'], 65 parameters"
    assert hessian == "the Hessian is exact: True"


@every_backend
def test_gradients_and_products_are_the_references(mine: Any, backend: str) -> None:
    model, reference, rng = (
        model_of(mine, backend),
        model_of(mine, "numpy"),
        np.random.default_rng(0),
    )
    assert isinstance(model.engine, Walked)
    phi, v, (x, y) = (
        random_phi(model, rng, 2),
        random_phi(model, rng, 2),
        random_batch(model, rng, 2, 5),
    )
    exact = reference.hvp(phi, x, y, v, method="complex")
    assert relative(model.hvp(phi, x, y, v), exact) < 1e-11
    for got, want in zip(
        model.loss_and_grad(phi, x, y), reference.loss_and_grad(phi, x, y), strict=True
    ):
        assert relative(got, want) < 1e-12
    assert relative(model.forward(phi, x), reference.forward(phi, x)) < 1e-12


@every_backend
@pytest.mark.parametrize("state", ["mean", "carry", "fresh"])
def test_it_trains_and_goes_on_from_a_file(
    mine: Any, backend: str, state: str, tmp_path: Path
) -> None:
    model, optimizer = model_of(mine, backend), mine.RMSProp(0.01)
    loops = mr.Loops(4, 2, inner_steps=2, inner_batch=3, train_shots=3, state=state)
    whole = list(mr.reptile(model, tiny_tasks(), optimizer, loops))
    assert whole[-1].loss.mean() != whole[0].loss.mean()
    path = tmp_path / "run.safetensors"
    checkpoint.save(path, whole[1], Settings(backend="numpy"))
    loaded, _ = checkpoint.load(path)
    *_, last = mr.reptile(model, tiny_tasks(), optimizer, loops, loaded)
    np.testing.assert_array_equal(last.theta, whole[-1].theta)
    assert_same_state(last.state, whole[-1].state)


def test_an_optimizer_of_ones_own_steps_in_every_first_order_loop(mine: Any) -> None:
    """Also where the engine compiles others: beside it, the loop as it is written."""
    for backend in ("numpy", "numba") if "numba" in BACKENDS else ("numpy",):
        body = [mr.Dense(4), mr.Tanh(), mr.Dense(1)]
        model = mr.Model(body, (1,), "squared_error", backend=backend, dtype="float64")
        rng = np.random.default_rng(0)
        phi, (x, y) = random_phi(model, rng, 2), random_batch(model, rng, 3, 2, 5)
        by_hand, v = phi.copy(), np.zeros_like(phi)
        for x_i, y_i in zip(x, y, strict=True):
            _, g = model.loss_and_grad(by_hand, x_i, y_i)
            v = 0.9 * v + 0.1 * g**2
            by_hand -= 0.01 * g / (np.sqrt(v) + 1e-8)
        optimizer = mine.RMSProp(0.01)
        state = optimizer.init(phi)
        mr.adapt(model, phi, x, y, optimizer, state)
        np.testing.assert_allclose(phi, by_hand, rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(state["v"], v, rtol=1e-12)
    with pytest.raises(mr.InputError, match="not of RMSProp"):
        next(mr.maml(model, tiny_tasks(), optimizer, mr.Loops(1)))
