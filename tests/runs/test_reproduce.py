"""The quick version of every experiment: it runs, is kept, and finds what it can find so soon."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from minireptile import InputError, omniglot_cnn, sine_mlp
from minireptile.algorithms import ALGORITHMS
from minireptile.cli import main
from minireptile.loops import Snapshot
from minireptile.reproduce import (
    EXPERIMENTS,
    ON_CHARACTERS,
    cost,
    gradient_combinations,
    inner_products,
    manifolds,
    meta_batch,
    run,
    sine,
    taylor,
    variance,
)
from minireptile.reproduce.convergence import Sizes
from minireptile.reproduce.outcome import FAILS, HOLDS, Outcome, keep
from minireptile.tasks.images import FewShot
from tests.algorithms.test_lots import Map
from tests.small import random_batch, random_phi, tiny_classes, tiny_model

MODULES = "minireptile.reproduce"
IMAML = ALGORITHMS["imaml"]

# What is certain enough to be seen in seconds; the others' verdicts need their full size, and are
# tried on made-up measurements in test_verdicts.py.
CERTAIN = {"k1", "taylor"}


SMALL: dict[Any, tuple] = {
    sine: (20, 10), inner_products: (30, 20), manifolds: (20, 10, 40), cost: ((2, 3), 2),
    meta_batch: (8, 2, 2), gradient_combinations: (10, 3, 8, 16),
}  # fmt: skip


@cache
def made(name: str, workers: Any = None) -> Outcome:
    """A smaller version than the quick one, made once for all tests here; on small images of noise
    in place of characters, and with a small iMAML."""
    with pytest.MonkeyPatch.context() as patch:
        for module, sizes in SMALL.items():
            patch.setitem(module.SIZES, True, sizes)
        patch.setattr(variance, "QUICK", [Sizes(40, 1, choice=(1,), report=(0, 1), tasks=10)])
        patch.setattr(meta_batch, "T", (1, 2, 4, 8))
        rates = {outer: some[:1] for outer, some in meta_batch.RATES.items()}
        patch.setattr(meta_batch, "RATES", rates)
        patch.setattr(manifolds, "SEEDS", 2)
        if name in ON_CHARACTERS:
            module = import_module(f"{MODULES}.{name.replace('-', '_')}")
            classes = tiny_classes(count=6, each=40)
            splits = FewShot(classes, 5), FewShot(classes, 5), "noise"
            patch.setattr(module, "characters", lambda quick, data: splits)
            small = partial(omniglot_cnn, input_shape=(6, 6, 1))
            patch.setattr(module, "omniglot_cnn", small)
        if name == "sine":
            short = {"regression": {**IMAML.defaults["regression"], "inner_steps": 2}}
            patch.setitem(ALGORITHMS, "imaml", replace(IMAML, defaults=short))
        return run(name, quick=True, workers=workers)


@pytest.mark.parametrize("name", ON_CHARACTERS)
def test_workers_measure_the_same(name: str) -> None:
    workers = Map(3)
    assert made(name, workers).data == made(name).data
    assert workers.lots


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_runs_and_is_kept(name: str, tmp_path: Path) -> None:
    outcome = made(name)
    assert outcome.verdict == HOLDS or name not in CERTAIN, outcome.sentence()
    paths = keep(name, outcome, tmp_path, quick=True)
    record = json.loads(paths[0].read_text())
    assert record["experiment"] == name
    assert record["quick"] is True
    assert re.fullmatch(r"(g1|[A-Z][a-z]*)\b.*[a-z].*\.", record["claim"])  # a sentence
    assert record["verdict"] == outcome.verdict
    assert record["figures"] in outcome.sentence()
    assert record["data"]
    with Image.open(paths[1]) as picture:
        assert min(picture.size) > 300
        assert len(picture.convert("RGB").getcolors(2**20)) > 20


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_gets_what_it_is_asked_for(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its size and backend; those on characters, where Omniglot lies."""
    module = import_module(f"{MODULES}.{name.replace('-', '_')}")
    monkeypatch.setattr(module, "run", lambda *given: given)
    given = run(name, quick=False, backend="numba", data="a folder")
    assert given == (False, "numba", *(["a folder", None] if name in ON_CHARACTERS else []))
    assert {"gradient-combinations", "overlap", "meta-batch"} == set(ON_CHARACTERS)


def test_a_wrong_expansion_is_not_confirmed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert made("taylor").verdict == HOLDS
    right = taylor.coefficients

    def wrong(k: int) -> dict[str, tuple[float, float]]:
        return {**right(k), "Reptile": (float(k), -0.8 * k * (k - 1) / 2)}

    monkeypatch.setattr(taylor, "coefficients", wrong)
    assert run("taylor", quick=True).verdict == FAILS


def test_relative_variance() -> None:
    rng = np.random.default_rng(0)
    sure = np.repeat(rng.normal(size=(1, 3, 5)), 6, axis=0)
    np.testing.assert_allclose(variance.relative_variance(sure), 0, atol=1e-30)
    chance = rng.normal(size=(400, 3, 50))
    np.testing.assert_allclose(variance.relative_variance(chance), 1, atol=0.05)


def test_reptiles_update_has_the_least_chance_in_it() -> None:
    """The half of the claim that seconds can show."""
    rows = variance.shares(quick=True, backend="numpy", tasks=30)
    for mark in (0, 30, 300):
        share = {row["algorithm"]: row["variance"] for row in rows if row["iteration"] == mark}
        assert share["Reptile"] < 0.2 < min(share["FOMAML"], share["MAML"])


def test_unknown_names_and_folders_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no experiment 'magic': choose one of sine, k1"):
        run("magic", quick=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="choose another --out"):
        keep("k1", made("k1"), tmp_path / "file", quick=True)


def test_mini_batches_take_every_place_once() -> None:
    orders = np.array(taylor.shifts(4))
    assert all(sorted(column) == [0, 1, 2, 3] for column in orders.T)
    assert taylor.trained(sine_mlp(4), 2).shape == (sine_mlp(4).size,)


@pytest.mark.long
@pytest.mark.parametrize("name", ON_CHARACTERS)
def test_on_characters_themselves(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(gradient_combinations.SIZES, True, (40, 3, 100, 200))
    monkeypatch.setattr(meta_batch, "T", (1, 2, 4, 8))
    monkeypatch.setitem(meta_batch.SIZES, True, SMALL[meta_batch])
    outcome = run(name, quick=True)
    assert outcome.data["characters"] == "drawn characters"
    assert "drawn characters" in outcome.details


@pytest.mark.long
@pytest.mark.parametrize("name", ON_CHARACTERS)
def test_on_omniglot_itself(name: str, shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(gradient_combinations.SIZES, True, (40, 3, 100, 200))
    monkeypatch.setattr(meta_batch, "T", (1, 2, 4, 8))
    monkeypatch.setitem(meta_batch.SIZES, True, SMALL[meta_batch])
    outcome = run(name, quick=True, data=str(shared_data / "omniglot"))
    assert outcome.data["characters"] == "Omniglot"
    assert "Omniglot" in outcome.details


def test_gradients_are_summed_as_their_names_say() -> None:
    """Side by side, by the loop of each written out."""
    model, rng = tiny_model(), np.random.default_rng(0)
    theta, alpha = random_phi(model, rng, 3), 0.1
    x, y = random_batch(model, rng, 2, 3, 4)
    chosen = np.array([[[True], [True], [False]], [[True], [False], [True]]])  # (k, R, 1)
    found = gradient_combinations.summed(model, theta, x, y, alpha, chosen)
    for r, of in enumerate(((0, 1), (0,), (1,))):
        first = model.loss_and_grad(theta[r], x[0, r], y[0, r])[1]
        second = model.loss_and_grad(theta[r] - alpha * first, x[1, r], y[1, r])[1]
        np.testing.assert_allclose(found[r], sum((first, second)[i] for i in of), atol=1e-12)


def test_a_run_that_ends_too_soon_is_kept_and_told() -> None:
    def iterations() -> Iterator[Snapshot]:
        for it in (1, 2):
            yield Snapshot(it, np.zeros(1), {}, np.zeros((1, 1)))
        raise InputError("it met negative curvature")

    last, trouble = sine.trained(iterations())
    assert last.iteration == 2
    assert trouble == "iteration 2, it met negative curvature"


def test_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    numpy = ["--backend", "numpy"]  # nothing is compiled
    assert main(["reproduce", "k1", "--quick", *numpy, "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "It holds: with two inner steps, the distance" in said
    assert "After 200 iterations" in said
    assert f"picture: {tmp_path / 'k1.png'}" in said
    assert json.loads((tmp_path / "k1.json").read_text())["verdict"] == "holds"
    assert main(["reproduce", "magic", *numpy]) == 2
    assert "there is no experiment 'magic'" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert main(["reproduce", "k1", "--quick", *numpy, "--out", str(tmp_path / "file")]) == 2
    capsys.readouterr()
    assert main(["reproduce", "k1", "--data", "x", *numpy, "--out", str(tmp_path)]) == 2
    assert "--data is for gradient-combinations, overlap, meta-batch:" in capsys.readouterr().err
    assert main(["reproduce", "overlap", "--data", "nowhere", *numpy, "--out", str(tmp_path)]) == 2
    assert "nowhere is not a folder" in capsys.readouterr().err
