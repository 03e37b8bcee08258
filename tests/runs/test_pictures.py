"""What the pictures show: the points of every curve, against the records that they are drawn of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import minireptile as mr
from minireptile.delegate import begin
from minireptile.evaluate import adapt_unseen
from minireptile.rng import Stream, generator
from minireptile.runs import checkpoint, experiment, metrics, pictures, plot, plot_task
from minireptile.runs.folder import BASELINE, METRICS
from minireptile.runs.settings import Settings
from minireptile.tasks.images import Splits

SINE = Settings(
    dataset="sine", network="sine", backend="numpy", iterations=3, seed=2, optimizer="sgd",
    inner_lr=0.01, eval_steps=2, eval_batch=4, shot=6, epsilon=0.5, meta_batch=2,
)  # fmt: skip
GLYPHS = Settings(backend="numpy", way=4, shot=1, filters=2)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The figures by name, instead of files."""
    kept: dict[str, Any] = {}

    def keep(figure: Any, path: Path) -> Path:
        kept[path.name] = figure
        return path

    monkeypatch.setattr(plot, "save_figure", keep)
    return kept


def points(ax: Any) -> list[tuple[list[float], list[float]]]:
    return [(list(line.get_xdata()), list(line.get_ydata())) for line in ax.get_lines()]


def accuracy(value: float) -> dict[str, Any]:
    return {"accuracy": value, "accuracy_ci95": 0.1, "transductive_accuracy": value + 0.25,
            "transductive_accuracy_ci95": None, "tasks": 3, "seed": 0}  # fmt: skip


def test_the_learning_curve_of_images(drawn: dict[str, Any], tiny: Splits, tmp_path: Path) -> None:
    """Of 20 iterations and their running evaluations, with dots for the tests."""
    built = replace(experiment.build(GLYPHS), note="half of it")
    values = np.linspace(0.25, 0.5, 20)
    records: list[dict[str, Any]] = [
        {"iteration": 5 * i, "loss": float(i), "running": accuracy(v)}
        for i, v in enumerate(values, 1)
    ]
    records += [{"iteration": i, "test": accuracy(v)} for i, v in ((0, 0.125), (100, 0.5))]
    assert plot.learning_curve(built, records, tmp_path) == tmp_path / "learning_curve.png"
    figure = drawn["learning_curve.png"]
    above, below = figure.axes
    assert figure.get_suptitle() == "reptile on glyphs, 4-way (half of it)"
    assert below.get_ylabel() == "loss at the last inner step"
    assert above.get_ylabel() == "4-way 1-shot accuracy, %"
    assert (below.get_xlabel(), above.get_xlabel()) == 2 * ("outer iteration",)
    assert above.get_yscale() == "linear"
    at, losses = [5 * i for i in range(1, 21)], [float(i) for i in range(1, 21)]
    assert points(below) == 2 * [(at, losses)]  # a window of one
    # A line over the running evaluations, dots before and after; these with caps, if with bars.
    first, dots, _, _, second, more_dots, chance = points(above)
    for shift, (iterations, line), tested in ((0, first, dots), (25, second, more_dots)):
        assert iterations == at
        # Over two of 20: a value and its neighbours.
        np.testing.assert_allclose(line[1:-1], 100 * values[1:-1] + shift)
        np.testing.assert_allclose(line[0], 100 * values[:2].mean() + shift)
        assert tested == ([0, 100], [12.5 + shift, 50 + shift])
    assert chance == ([0, 1], [25.0, 25.0])  # what guessing reaches, in 4-way tasks
    labels = [text.get_text() for text in above.get_legend().get_texts()]
    assert labels == ["accuracy", "transductive accuracy", "chance"]
    band, bars, empty = above.collections  # without intervals, nothing is filled
    corners = band.get_paths()[0].vertices
    for x, mean in list(zip(at, first[1], strict=True))[1:-1]:  # of three with +- 10
        found = sorted({float(y) for x_, y in corners if x_ == x})
        np.testing.assert_allclose(found, [mean - 10 / 3**0.5, mean + 10 / 3**0.5])
    np.testing.assert_allclose(
        [bar[:, 1] for bar in bars.get_segments()], [[2.5, 22.5], [40.0, 60.0]]
    )
    assert not empty.get_paths()


@pytest.mark.parametrize(("way", "shot", "queries"), [(4, 1, 2), (3, 5, 2), (2, 6, 1)])
def test_one_unseen_task_as_it_is_classified(
    way: int, shot: int, queries: int, tiny: Splits, drawn: dict[str, Any], tmp_path: Path
) -> None:
    """The same task by both runs, as `evaluate` does it; of 7 images of a class, those that support
    leaves. Each query has a frame and a mark of what came of it, and the class it was given."""
    built = experiment.build(replace(GLYPHS, way=way, shot=shot, eval_steps=3))
    runs = {n: begin(built.model, built.optimizer, replace(built.loops, seed=seed))
            for n, seed in (("before", 1), ("after", 2))}  # fmt: skip
    tasks = {name: plot_task.classify(built, run) for name, run in runs.items()}
    protocol = built.protocol(1, 0, query=queries, stream=Stream.EXAMPLE)
    task = built.test.draw(generator(0, Stream.EXAMPLE, 0, 0), shot, queries)
    shape = (way, -1, 6, 6, 1)
    right = {}
    for name, found in tasks.items():
        np.testing.assert_array_equal(found.support, task.support_x.reshape(shape))
        np.testing.assert_array_equal(found.query, task.query_x.reshape(shape))
        right[name] = found.predicted == np.arange(way)[:, None]
        result = built.evaluate(runs[name], built.test, protocol)
        assert isinstance(result, mr.Accuracy)
        assert right[name].mean() == pytest.approx(result.accuracy)

    records: list[dict[str, Any]] = [{"iteration": 1, "loss": 1.0}]
    plot.learning_curve(built, records, tmp_path, runs)
    ax = drawn["learning_curve.png"].axes[0]
    texts = [text.get_text() for text in ax.texts]
    assert texts[:way] == list("ABCD")[:way]
    assert "support" in texts
    assert (f"{shot} of each class" in texts) == (shot > 1)
    for name, found in tasks.items():
        at = texts.index(name)
        assert texts[at + 1] == f"{right[name].sum()} of {way * queries} right"
        marks = texts[at + 2 :][: way * queries]
        frames = [line.get_color() for line in ax.lines][min(shot, 2) * way :]
        frames = frames[list(tasks).index(name) * way * queries :]
        for n, (mark, frame) in enumerate(zip(marks, frames, strict=False)):
            c, row = n % way, n // way
            given = "ABCD"[found.predicted[c, row]]
            assert mark == f"{'✓' if right[name][c, row] else '✗'} {given}"
            assert frame == (plot_task.RIGHT if right[name][c, row] else plot_task.WRONG)
    assert len(ax.images) == way * (min(shot, 2) + 2 * queries)


def test_a_task_of_many_classes_is_cut_short(tiny: Splits) -> None:
    """Ten columns, and classes by numbers where letters do not suffice."""
    assert [plot_task._name(c) for c in (0, 25, 26, 99)] == ["A", "Z", "27", "100"]
    shape = (30, 1, 6, 6, 3)
    task = plot_task.Classified(np.zeros(shape), np.ones(shape), np.full((30, 1), 29))
    _, ax = plot.figure()
    plot_task.draw(ax, {"after": task})
    assert len(ax.images) == 2 * 10
    texts = [text.get_text() for text in ax.texts]
    assert texts[9] == "J"
    assert "1 of 30 right" in texts
    assert texts[-1] == "✗ 30"
    columns, wider = plot_task.size({"after": task}), plot_task.size({"a": task, "b": task})
    assert columns[0] == wider[0]
    assert columns[1] < wider[1]


def test_ink_is_dark_on_white() -> None:
    """Whichever of the two it is in the data; photographs stay as they are."""

    def shown(pixels: NDArray) -> str:
        return plot_task._ink(plot_task.Classified(pixels, pixels, np.zeros(1)))

    assert shown(np.array([1.0, 0.0, 0.0])) == "gray_r"
    assert shown(np.array([1.0, 0.0, 1.0])) == "gray"
    assert shown(np.array([0.1, 0.0, 0.0])) == "gray"


def test_the_learning_curve_of_functions(drawn: dict[str, Any], tmp_path: Path) -> None:
    """Tests alone; an error for each mark, on a logarithmic axis."""
    built = experiment.build(SINE)
    test = {"steps": [0, 1, 2], "mse": [4.0, 2.0, 1.0], "mse_ci95": [None] * 3}
    later = {**test, "mse": [3.0, 1.0, 0.5]}
    records: list[dict[str, Any]] = [
        {"iteration": 1, "loss": 1.5}, {"iteration": 0, "test": test},
        {"iteration": 1, "test": later},
    ]  # fmt: skip
    plot.learning_curve(built, records, tmp_path)
    right, _ = drawn["learning_curve.png"].axes
    assert drawn["learning_curve.png"].get_suptitle() == "reptile on sine"
    assert (right.get_ylabel(), right.get_yscale()) == ("mean squared error", "log")
    assert points(right) == [([0, 1], [4.0, 3.0]), ([0, 1], [2.0, 1.0]), ([0, 1], [1.0, 0.5])]
    assert right.get_xlim()[0] < 0 < 1 < right.get_xlim()[1]  # all of them are seen
    assert right.get_ylim()[0] < 0.5 < 4 < right.get_ylim()[1]
    labels = [text.get_text() for text in right.get_legend().get_texts()]
    assert labels == ["0 steps", "1 steps", "2 steps"]


def test_an_interval_that_reaches_below_zero(tmp_path: Path) -> None:
    """On a logarithmic axis: it would leave the picture, and nothing of the axes in it."""
    built = experiment.build(SINE)
    test = {"steps": [0], "mse": [4.0], "mse_ci95": [5.0]}
    records: list[dict[str, Any]] = [
        {"iteration": 1, "loss": 1.5}, {"iteration": 1, "test": test},
    ]  # fmt: skip
    plot.learning_curve(built, records, tmp_path)  # without a warning
    with Image.open(tmp_path / "learning_curve.png") as picture:
        dark = np.asarray(picture.convert("L")) < 100
    assert dark.any(axis=0).mean() > 0.1  # letters, ticks, the frame of the axes


def test_a_moving_average_is_centred() -> None:
    values = np.array([0.0, 3.0, 6.0, 0.0, 12.0])
    np.testing.assert_allclose(plot._smooth(values, 1), values)
    np.testing.assert_allclose(plot._smooth(values, 3), [1.5, 3, 3, 6, 6])
    np.testing.assert_allclose(plot._smooth(values, 5), [3, 2.25, 4.2, 5.25, 6])


def test_the_way_to_a_function(drawn: dict[str, Any], tmp_path: Path) -> None:
    """One unseen wave, from each initialisation, after 0, 1, 5, 10 and 32 steps, and its points."""
    built = experiment.build(SINE)
    runs = {name: begin(built.model, built.optimizer, replace(built.loops, seed=seed))
            for name, seed in (("reptile", 7), ("joint", 8))}  # fmt: skip
    assert plot.adaptation(built, runs, tmp_path) == tmp_path / "adaptation.png"
    axes = drawn["adaptation.png"].axes
    assert [ax.get_title() for ax in axes] == ["reptile", "joint"]
    grid = np.linspace(-5, 5, 201, dtype=np.float32)
    marks = (0, 1, 5, 10, 32)
    protocol = mr.Protocol(1, shot=6, marks=marks, batch=4, seed=2, stream=Stream.EXAMPLE)
    for ax, run in zip(axes, runs.values(), strict=True):
        lines = {line.get_label(): line for line in ax.get_lines()}
        assert list(lines) == ["target", *(f"{mark} steps" for mark in marks), "support"]
        way = adapt_unseen(built.model, run.theta, {}, built.test, built.optimizer, protocol)
        for mark, phi, batch in way:
            line = lines[f"{mark} steps"]
            np.testing.assert_array_equal(line.get_xdata(), grid)
            wanted = built.model.forward(phi[0], grid[:, None])[:, 0]
            np.testing.assert_allclose(line.get_ydata(), wanted, rtol=1e-5, atol=1e-6)
            np.testing.assert_array_equal(lines["target"].get_ydata(), batch.query_y[0, :, 0])
            np.testing.assert_array_equal(lines["support"].get_xdata(), batch.x[:, 0].ravel())
            np.testing.assert_array_equal(lines["support"].get_ydata(), batch.y[:, 0].ravel())


@pytest.mark.parametrize("algorithm", ["reptile", "joint"])
def test_beside_a_run_on_functions_stands_joint_training(
    algorithm: str, drawn: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """From the same start, with the same budget; trained once, and again if settings change."""
    built = experiment.build(replace(SINE, algorithm=algorithm))
    *_, run = built.run()
    metrics.append(tmp_path / METRICS, {"iteration": 3, "loss": 1.0})
    pictures.draw(built, run, tmp_path)
    names = [ax.get_title() for ax in drawn["adaptation.png"].axes]
    said = capsys.readouterr().out
    assert said.endswith(
        f"picture: {tmp_path / 'learning_curve.png'}\npicture: {tmp_path / 'adaptation.png'}\n"
    )
    if algorithm == "joint":
        assert names == ["joint"]
        assert not (tmp_path / BASELINE).exists()
        return
    assert names == ["reptile", "joint"]
    *_, wanted = mr.joint(built.model, built.train, built.optimizer, built.loops)
    found, settings = checkpoint.load(tmp_path / BASELINE)
    assert settings == replace(SINE, algorithm="joint")
    assert (found.iteration, found.theta.tobytes()) == (3, wanted.theta.tobytes())
    assert "training the baseline" in said
    assert pictures.baseline(built, tmp_path).theta.tobytes() == wanted.theta.tobytes()
    assert "training" not in capsys.readouterr().out
    other = experiment.build(replace(SINE, inner_lr=0.02))
    assert pictures.baseline(other, tmp_path).theta.tobytes() != wanted.theta.tobytes()
    assert "training the baseline" in capsys.readouterr().out


def test_images_have_a_learning_curve_alone(
    drawn: dict[str, Any], tiny: Splits, tmp_path: Path
) -> None:
    built = experiment.build(GLYPHS)
    metrics.append(tmp_path / METRICS, {"iteration": 3, "loss": 1.0})
    pictures.draw(built, begin(built.model, built.optimizer, built.loops), tmp_path)
    assert list(drawn) == ["learning_curve.png"]
