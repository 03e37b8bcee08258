"""The figures of whole runs and first starts, computed a second way; a suite as it is shown."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import minireptile as mr
from bench import __main__ as command
from bench import results, runs, start
from bench.measure import Timing
from bench.settings import MINIIMAGENET, OMNIGLOT, SINE, Setting

from .test_bench_measure import times

TINY = replace(OMNIGLOT, tasks=2, steps=3, batch=4, size=8, filters=4)


@pytest.mark.usefixtures("two_backends")
def test_the_figures_of_a_run(known_times: Callable, given: list) -> None:
    timings = {
        "numpy": Timing(0.5, 0.4, 0.7, 3), "other": Timing(0.25, 0.2, 0.3, 5),
        runs.SAMPLING: Timing(0.1, 0.05, 0.2, 9),
    }  # fmt: skip
    asked = known_times(runs, timings)
    tasks = runs.images(6, 10, (8, 8), bool)
    numpy, other, alone = runs.measure(TINY, tasks, 7, 11, 0.5, 3)
    assert asked[0][1:] == (11, 0.5)
    assert [(r["variant"], times(r)) for r in (numpy, other, alone)] == [
        ("numpy", (0.5, 0.4, 0.7, 3)), ("other", (0.25, 0.2, 0.3, 5)),
        (runs.SAMPLING, (0.1, 0.05, 0.2, 9)),
    ]  # fmt: skip
    assert [r["per_second"] for r in (numpy, other, alone)] == [2, 4, 10]
    assert [r["ratio"] for r in (numpy, other, alone)] == [1, 0.5, 0.2]
    assert [r.get("sampling") for r in (numpy, other, alone)] == [0.2, 0.4, None]
    assert {r["threads"] for r in (numpy, other, alone)} == {3}
    assert numpy["case"] == "run omniglot 2x3x4"
    optimizer, loops = given[-1]
    assert optimizer == mr.Adam(1e-3, beta1=0.0)
    assert (loops.meta_batch, loops.inner_steps, loops.inner_batch) == (2, 3, 4)
    assert (loops.train_shots, loops.epsilon) == (7, 0.1)


def test_random_images_have_as_many_of_each_class() -> None:
    ink, colours = runs.images(7, 3, (4, 5), bool), runs.images(7, 3, (4, 5, 3), np.uint8)
    for found in (ink, colours):
        assert found.n_out == 5
        assert found.data.counts.tolist() == [3] * 7
    assert (ink.data.images.max(), colours.data.images.max() > 1) == (1, True)
    settings = {s.network: (s, shots) for s, _, shots in runs.cases(quick=True)}
    assert settings["sine"] == (SINE, 50)
    assert settings["omniglot"] == (runs.QUICK, 10)


@pytest.mark.parametrize(("each", "text"), [(1234.5, "1,234"), (999.6, "1e+03"), (12.345, "12.3")])
def test_iterations_a_second_in_three_digits(each: float, text: str) -> None:
    assert runs.rate({"per_second": each}) == text


def test_a_second_start_finds_what_the_first_one_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    folders: list = []

    def ask(module: str, *arguments: str, NUMBA_CACHE_DIR: str) -> dict:
        assert (module, *arguments) == ("bench.start", "sine", "numpy")
        path = Path(NUMBA_CACHE_DIR, "compiled")
        folders.append((NUMBA_CACHE_DIR, path.exists()))
        path.touch()
        return {"first_seconds": 10.0 - len(folders), "next_seconds": 1.0, "import_seconds": 2.0}

    monkeypatch.setattr(runs, "ask", ask)
    first, second = runs.starts("sine", "numpy")
    assert [there for _, there in folders] == [False, True]
    assert folders[0][0] == folders[1][0]
    assert not Path(folders[0][0]).exists()
    assert (first["case"], first["first_seconds"]) == ("first start, sine", 9)
    assert (second["case"], second["first_seconds"]) == ("second start, sine", 8)
    assert first["variant"] == "numpy"


def test_a_start_is_timed_in_three_parts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A clock that goes on when something is done: a model in 100 s, each adaptation in 7 s."""
    now = [20.0]

    def model(self: Setting, backend: str) -> mr.Model:
        now[0] += 100
        return mr.sine_mlp(4)

    def adapt(model: Any, phi: Any, x: Any, y: Any, optimizer: Any) -> None:
        now[0] += 7
        assert (phi.shape[0], x.shape[:3], optimizer) == (1, (5, 1, 10), mr.SGD(0.02))

    monkeypatch.setattr(start, "perf_counter", lambda: now[0])
    monkeypatch.setattr(start, "BEGIN", 17.0)
    monkeypatch.setattr(Setting, "model", model)
    monkeypatch.setattr(mr, "adapt", adapt)
    start.main(["sine", "numpy"])
    assert json.loads(capsys.readouterr().out) == {
        "import_seconds": 3, "first_seconds": 107, "next_seconds": 7,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("setting", "x", "y"),
    [
        (TINY, (3, 2, 4, 8, 8, 1), (3, 2, 4)),
        (replace(MINIIMAGENET, tasks=2, steps=1, batch=3), (1, 2, 3, 84, 84, 3), (1, 2, 3)),
        (replace(SINE, tasks=2, steps=4), (4, 2, 10, 1), (4, 2, 10, 1)),
    ],
    ids=str,
)
def test_a_setting_has_the_network_and_the_data_it_names(
    setting: Setting, x: tuple, y: tuple
) -> None:
    found = setting.data()
    assert [a.shape for a in found] == [x, y]
    assert found[0].dtype == np.float32
    model, sine = setting.model(), setting.network == "sine"
    assert model.input_shape == x[3:]
    assert str(setting) == f"{setting.network} {x[1]}x{x[0]}x{x[2]}"
    assert setting.optimizer == (mr.SGD(0.02) if sine else mr.Adam(1e-3, beta1=0.0))
    assert model.n_out == (1 if sine else 5)
    if not sine:
        assert set(found[1].ravel().tolist()) <= set(range(5))
    assert not np.array_equal(setting.data(1)[0], found[0])


def test_the_papers_settings() -> None:
    assert [str(s) for s in (OMNIGLOT, MINIIMAGENET, SINE)] == [
        "omniglot 5x5x10", "mini-imagenet 5x8x10", "sine 1x5x10",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ([], (15, False, None)),
        (["--quick"], (3, True, None)),
        (["--rounds", "7", "--threads", "1"], (7, False, 1)),
    ],
    ids=["as it is", "quick", "as asked"],
)
def test_a_suite_is_run_saved_and_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    options: list[str], wanted: tuple,
) -> None:  # fmt: skip
    asked: list = []
    rows: list[results.Row] = [
        {"case": "a", "variant": "v", "seconds": 0.25, "ratio": 2.0, "hidden": 1, "note": ""},
        {"case": "b", "variant": "w", "hidden": 2},
    ]

    def run(*arguments: Any) -> list[results.Row]:
        asked.append(arguments)
        return rows

    fake = SimpleNamespace(
        run=run, COLUMNS={key: (key, f"what {key} is") for key in ("seconds", "ratio", "none")},
        summary=lambda rows: f"of {len(rows)}", draw=lambda rows, folder, where: [folder / "p.png"],
    )  # fmt: skip
    monkeypatch.setattr(command, "import_module", lambda name: fake)
    monkeypatch.setattr(command, "BACKENDS", ())
    monkeypatch.setenv("NUMBA_NUM_THREADS", "1")
    assert command.main(["runs", *options, "--out", str(tmp_path)]) == 0
    assert asked == [wanted]
    assert results.load(tmp_path / "runs.json")["rows"] == rows
    assert capsys.readouterr().out.splitlines() == [
        "## runs",
        "",
        "| case, variant | seconds | ratio |",
        "| ------------- | ------: | ----: |",
        "| a                               |",
        "|   v           |  250 ms |     2 |",
        "",
        "- seconds: what seconds is",
        "- ratio: what ratio is",
        "",
        "of 2",
        "",
        f"wrote {tmp_path / 'runs.json'}",
        f"wrote {tmp_path / 'p.png'}",
    ]
