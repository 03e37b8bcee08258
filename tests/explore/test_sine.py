"""The figures of sine waves: against a network written out, and against the loops themselves."""

from __future__ import annotations

import json
from importlib.resources import files
from math import pi
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import minireptile as mr
from minireptile.explore import starts as shipped
from minireptile.explore.answer import answer, compute, tables
from minireptile.explore.figures.sine import LIVE, P, unseen, wave
from minireptile.explore.figures.training import MOST, SHOWN, STEPS
from minireptile.explore.starts import FILE, STARTS, make, settings, starts
from minireptile.explore.values import pack
from minireptile.reproduce.sine import ALGORITHMS
from minireptile.rng import Stream, generator

GRID = np.linspace(-5, 5, 101)[:, None]


def ask(name: str, **given: Any) -> dict[str, Any]:
    """What a page gets, of what its figure begins with but for what is given; arrays as packed."""
    figure = next(f for f in tables()[1].values() if name in f.calls)
    found = json.loads(answer(json.dumps([name, {**figure.first, **given}], default=pack)))
    return found.get("ok", found)


def fit(**given: Any) -> dict[str, NDArray]:
    return compute("wave_fit", {**tables()[1]["waves"].first, **given})


def forward(theta: NDArray, x: NDArray) -> tuple[NDArray, ...]:
    """1-64-64-1 with tanh, written out: outputs, and what the gradient needs."""
    sizes, parts = [64, 64, 4096, 64, 64, 1], []
    for size in sizes:
        parts.append(theta[:size])
        theta = theta[size:]
    w1, b1, w2, b2, w3, b3 = parts
    h = np.tanh(x @ w1.reshape(1, 64) + b1)
    g = np.tanh(h @ w2.reshape(64, 64) + b2)
    return g @ w3.reshape(64, 1) + b3, h, g, w2.reshape(64, 64), w3.reshape(64, 1)


def gradient(theta: NDArray, x: NDArray, y: NDArray) -> NDArray:
    """Of the mean squared error, by the chain rule."""
    out, h, g, w2, w3 = forward(theta, x)
    d = 2 * (out - y) / len(x)
    dg = (d @ w3.T) * (1 - g**2)
    dh = (dg @ w2.T) * (1 - h**2)
    pairs = (x.T @ dh, dh.sum(0)), (h.T @ dg, dg.sum(0)), (g.T @ d, d.sum(0))
    return np.concatenate([part.ravel() for pair in pairs for part in pair])


def test_a_fit_is_gradient_descent() -> None:
    points, a, b, rate = [-3.0, 0.5, 2.2, 4.9], 2.5, 4.0, 0.03
    found = fit(amplitude=a, phase=b, points=points, steps=3, rate=rate, start="maml")
    theta = starts()["maml"].astype(float)
    x = np.array(points)[:, None]
    y = a * np.sin(x + b)
    for k in range(4):
        curve = forward(theta, GRID)[0][:, 0]
        np.testing.assert_allclose(found["curves"][k], curve, atol=1e-9)
        error = np.mean((curve - a * np.sin(GRID[:, 0] + b)) ** 2)
        np.testing.assert_allclose(found["whole"][k], error, rtol=1e-9)
        seen = np.mean((forward(theta, x)[0] - y) ** 2)
        np.testing.assert_allclose(found["seen"][k], seen, rtol=1e-9)
        theta -= rate * gradient(theta, x, y)


def test_from_a_learned_start_a_few_steps_do_and_from_joint_trainings_they_do_not() -> None:
    errors: dict[str, list[NDArray]] = {name: [] for name in STARTS}
    for deal in range(1, 31):
        task = compute("wave_deal", {"deal": deal, "shot": 10})
        for name in STARTS:
            errors[name].append(fit(**task, steps=5, start=name)["whole"])
    mean = {name: np.mean(found, 0) for name, found in errors.items()}
    for name in ("reptile", "maml", "fomaml", "imaml"):
        assert mean[name][5] < mean["joint"][5] / 20, name
    assert mean["joint"][5] > 0.8 * mean["joint"][0]
    for name in ("joint", "reptile", "maml", "imaml"):  # the mean of all waves, as the page says
        assert np.abs(fit(points=[], start=name)["curves"]).max() < 0.1, name


def test_without_points_no_step_is_taken() -> None:
    found = fit(points=[], steps=20)
    assert found["curves"].shape == (1, 101)
    assert found["whole"].shape == (1,)
    assert found["seen"].shape == (0,)


def test_a_rate_too_large_is_an_answer_too() -> None:
    found = ask("wave_fit", rate=0.1, steps=20, amplitude=5.0, points=[0.1] * 10, start="joint")
    assert found["curves"]["shape"] == [21, 101]


def test_what_is_dealt_is_a_task_of_sine() -> None:
    for deal in (1, 7):
        found = compute("wave_deal", {"deal": deal, "shot": 6})
        task = mr.Sine().draw(generator(0, Stream.EXAMPLE, task=deal), 6)
        x = np.array(found["points"])[:, None]
        np.testing.assert_allclose(x, task.support_x, atol=1e-4)
        y = found["amplitude"] * np.sin(task.support_x + found["phase"])
        np.testing.assert_allclose(y, task.support_y, atol=1e-5)
        assert 0 <= found["phase"] <= 2 * pi
    assert found != compute("wave_deal", {"deal": 8, "shot": 6})


@pytest.mark.parametrize("algorithm", LIVE)
def test_training_in_pieces_is_the_loop_bit_for_bit(algorithm: str) -> None:
    theta, start, losses = None, 0, np.empty(0)
    for to in (0, 3, 4, 9):
        found = ask(
            "meta_train", algorithm=algorithm, seed=5, start=start, iteration=to, theta=theta
        )
        assert [found[n] for n in ("algorithm", "seed", "iteration")] == [algorithm, 5, to]
        piece = compute(
            "meta_train",
            {"algorithm": algorithm, "seed": 5, "start": start, "iteration": to, "theta": theta},
        )
        losses = np.concatenate([losses, piece["loss"]])
        theta, start = found["theta"], to
    loops = mr.Loops(3000, meta_batch=5, train_shots=50, seed=5, state="fresh")
    expected = []
    for run in getattr(mr, algorithm)(mr.sine_mlp(64), mr.Sine(), mr.SGD(0.02), loops):
        expected.append(run.loss[-1].mean())
        if run.iteration == 9:
            break
    np.testing.assert_array_equal(piece["theta"], run.theta)
    np.testing.assert_array_equal(losses, expected)


def test_what_theta_makes_of_unseen_waves() -> None:
    theta = mr.sine_mlp(64).init(3)
    found = compute(
        "meta_train",
        {"algorithm": "reptile", "seed": 0, "start": 40, "iteration": 40, "theta":
         json.loads(json.dumps(theta, default=pack))},
    )  # fmt: skip
    errors = []
    for t in range(SHOWN):
        a, b, x = unseen(t, 10)
        y, phi = a * np.sin(x + b), theta.astype(float)
        true = a * np.sin(GRID + b)
        before = np.mean((forward(phi, GRID)[0] - true) ** 2)
        for _ in range(STEPS):
            phi -= 0.02 * gradient(phi, x, y)
        errors.append([before, np.mean((forward(phi, GRID)[0] - true) ** 2)])
        if t == 0:
            np.testing.assert_allclose(found["curves"][STEPS], forward(phi, GRID)[0][:, 0])
            np.testing.assert_allclose(found["true"], true[:, 0])
            np.testing.assert_allclose(found["y"], y[:, 0])
    np.testing.assert_allclose(found["errors"], np.mean(errors, 0), rtol=1e-9)
    assert len(found["loss"]) == 0


def test_no_training_draws_what_it_is_shown_on() -> None:
    drawn = {mr.Sine().draw(generator(0, Stream.TRAIN, i, t), 1).support_y.item()
             for i in range(100) for t in range(5)}  # fmt: skip
    a, b, x = unseen(0, 1)
    assert np.float32(wave(a, b, x)).item() not in drawn


@pytest.mark.parametrize(
    ("name", "given", "says"),
    [
        ("meta_train", {"iteration": MOST + 1}, "0 to 20 iterations on, not 21"),
        ("meta_train", {"start": 4, "iteration": 3}, "not -1"),
        ("meta_train", {"start": 4, "iteration": 5}, "no theta to go on from at iteration 4"),
        ("meta_train", {"algorithm": "imaml"}, "one of reptile, fomaml, maml, joint"),
        ("meta_train", {"iteration": 3001}, "between 0 and 3000"),
        ("meta_train", {"theta": {"shape": [P], "f4": ""}}, "must hold 4353 float32"),
        ("meta_train", {"theta": np.full(P, np.nan)}, "holds NaN"),
        ("wave_fit", {"start": "yours"}, "no θ of yours yet"),
        ("wave_fit", {"start": "mine"}, "must be one of random"),
        ("wave_fit", {"points": [0.0] * 11}, "a list of 0 to 10"),
        ("wave_fit", {"amplitude": 5.1}, "between 0.1 and 5"),
        ("wave_fit", {"recipe": ["imaml", 0, 0]}, "recipe[0] must be one of reptile"),
        ("wave_fit", {"recipe": ["joint", 0]}, "must be [algorithm, seed, iteration]"),
        ("wave_fit", {"recipe": ["joint", 0, 4000]}, "recipe[2] must be between"),
    ],
)  # fmt: skip
def test_a_wrong_question_gets_a_sentence(name: str, given: dict[str, Any], says: str) -> None:
    assert says in ask(name, **given)["error"]


def test_far_off_thetas_have_answers_too() -> None:
    far = np.resize([1e6, -1e6, 3e5], P).astype(np.float32)
    assert "curves" in ask("wave_fit", start="yours", yours=far, rate=0.1, steps=20)
    assert "curves" in ask("meta_train", start=7, iteration=7, theta=far)
    found = ask("meta_train", start=7, iteration=9, theta=far)
    assert "curves" in found or "diverged" in found["error"]


def test_the_lines_of_a_theta_from_the_other_figure_train_it() -> None:
    given = {**tables()[1]["waves"].first, "start": "yours", "recipe": ["fomaml", 2, 3]}
    found = compute("meta_train", {
        "algorithm": "fomaml", "seed": 2, "start": 0, "iteration": 3, "theta": None,
    })  # fmt: skip
    given["yours"] = json.loads(json.dumps(found["theta"], default=pack))
    known: dict[str, Any] = {}
    exec(compute("code", {"figure": "waves", **given})["code"], known)
    np.testing.assert_allclose(known["curves"], fit(**given)["curves"], atol=1e-6)


# ------------------------------------------------------------------------------- the trained starts


def test_the_file_of_starts_is_small_and_says_how_it_was_made() -> None:
    path = files("minireptile.explore") / FILE
    assert len(path.read_bytes()) < 60_000
    with path.open("rb") as opened:
        file = np.load(opened, allow_pickle=False)
        assert {*file.files} == {*STARTS, "settings"}
        assert file["settings"].tolist() == settings(30_000)
        for name in STARTS:
            assert file[name].dtype == np.float16
            assert file[name].shape == (P,)
    np.testing.assert_array_equal(
        shipped.starts()["random"], mr.sine_mlp(64).init(0).astype(np.float16)
    )


def test_the_script_runs_the_loops(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    make(tmp_path / "short.npz", 2)
    assert capsys.readouterr().out.count("\n") == 5
    with np.load(tmp_path / "short.npz", allow_pickle=False) as file:
        assert file["settings"].tolist() == settings(2)
        plain = mr.Loops(2, meta_batch=1, epsilon=0.1, train_shots=50, state="fresh")
        adam = mr.Loops(
            2, meta_batch=1, epsilon=1.0, train_shots=50, state="fresh", outer=mr.Adam(0.001)
        )
        near = mr.Loops(
            2, meta_batch=1, epsilon=1.0, train_shots=50, state="fresh", outer=mr.Adam(0.001),
            inner_steps=17, prox=100.0,
        )  # fmt: skip
        loops = {"joint": plain, "reptile": plain, "fomaml": adam, "maml": adam, "imaml": near}
        for name, algorithm in ALGORITHMS.items():
            optimizer = mr.SGD(0.01 if name == "imaml" else 0.02)
            *_, run = algorithm(mr.sine_mlp(64), mr.Sine(), optimizer, loops[name])
            np.testing.assert_array_equal(file[name], run.theta.astype(np.float16), name)
