"""From settings to what they name: no setting may get lost or change places on the way."""

from __future__ import annotations

from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minireptile as mr
from minireptile.delegate import begin
from minireptile.networks import NETWORKS
from minireptile.rng import Stream
from minireptile.runs import experiment, memory, report
from minireptile.runs.measures import MEASURES
from minireptile.runs.settings import Settings
from minireptile.runs.sources import SOURCES
from minireptile.tasks.files import download
from minireptile.tasks.images import FewShot, Splits, from_arrays
from minireptile.tasks.sine import Sine
from tests.small import tiny_classes

from .run_helpers import Asked

# None is at its default, and no two numbers that could change places are equal.
OTHER: dict[str, Any] = {
    "dataset": "folder", "data": "elsewhere", "split": "vinyals", "size": 12, "channels": 3,
    "test_fraction": 0.375, "classes": 9, "drawers": 8, "rotations": False, "way": 3,
    "shot": 2, "train_shots": 5,
    "algorithm": "fomaml", "iterations": 90, "meta_batch": 4, "epsilon": 0.75,
    "epsilon_final": 0.25, "inner_steps": 7, "inner_batch": 6, "replacement": True,
    "state": "carry", "seed": 11, "tail": "separate", "tail_shots": 3, "prox": 2.5,
    "cg_steps": 6, "cg_tolerance": 0.125, "outer": "sgd", "outer_lr": 0.5,
    "outer_momentum": 0.375, "outer_beta1": 0.625, "optimizer": "sgd", "inner_lr": 0.03,
    "momentum": 0.8, "beta1": 0.4, "weight_decay_rate": 0.96, "reduction": "sum",
    "network": "miniimagenet", "filters": 5, "dtype": "float64", "backend": "numpy",
    "tf32": True, "eval_steps": 13, "eval_batch": 4, "eval_every": 17, "eval_tasks": 16,
    "test_tasks": 19, "checkpoint_every": 23,
}  # fmt: skip
SPLITS = Splits(
    tiny_classes(8, 8), tiny_classes(7, 8, seed=1), tiny_classes(6, 8, seed=2), "a note"
)


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setitem(SOURCES, "folder", replace(SOURCES["folder"], load=lambda: SPLITS))
    return Settings(**OTHER)


def test_every_setting_is_other_than_its_default(settings: Settings) -> None:
    for f in fields(Settings):
        assert getattr(settings, f.name) == OTHER[f.name] != f.default, f.name


def test_loops_and_optimizers(settings: Settings) -> None:
    built = experiment.build(replace(settings, inner_batch=5))
    assert built.settings == replace(settings, inner_batch=5)
    assert built.loops == mr.Loops(
        iterations=90, meta_batch=4, epsilon=0.75, epsilon_final=0.25, inner_steps=7,
        inner_batch=5, train_shots=5, replacement=True, state="carry", seed=11, tail="separate",
        tail_shots=3, prox=2.5, cg_steps=6, cg_tolerance=0.125,
        outer=mr.SGD(lr=0.5, momentum=0.375),
    )  # fmt: skip
    assert built.optimizer == mr.SGD(lr=0.03, momentum=0.8, weight_decay_rate=0.96)
    built = experiment.build(replace(settings, optimizer="adam", outer="adam"))
    assert built.optimizer == mr.Adam(0.03, 0.4, 0.999, 1e-8, weight_decay_rate=0.96)
    assert built.loops.outer == mr.Adam(0.5, 0.625, 0.999, 1e-8, weight_decay_rate=1.0)


@pytest.mark.parametrize(
    ("outer", "made"), [("plain", None), ("sgd", mr.SGD(1.0)), ("adam", mr.Adam(0.001, 0.9))]
)
def test_the_outer_rate_is_its_optimizers_own_unless_given(outer: str, made: Any) -> None:
    sine = Settings(dataset="sine", network="sine", backend="numpy", outer=outer)
    assert experiment.build(sine).loops.outer == made


def test_models(settings: Settings) -> None:
    """Of the settings, their way, filters, reduction and precision; tf32 is for cupy alone."""
    model = experiment.build(settings).model
    block = [mr.Conv2D(5, 3), mr.BatchNorm(), mr.MaxPool(2), mr.ReLU()]
    assert model.layers == (*block * 4, mr.Flatten(), mr.Dense(3))
    assert (model.input_shape, model.loss, model.reduction, model.dtype, model.tf32) == (
        (6, 6, 1), "softmax_cross_entropy", "sum", np.float64, False,
    )  # fmt: skip
    model = experiment.build(replace(settings, network="omniglot", filters=0)).model
    block = [mr.Conv2D(64, 3, stride=2), mr.BatchNorm(), mr.ReLU()]
    assert model.layers == (*block * 4, mr.Flatten(), mr.Dense(3))
    sine = Settings(dataset="sine", network="sine", backend="numpy", reduction="sum")
    model = experiment.build(sine).model
    assert model.layers == mr.sine_mlp().layers
    assert (model.loss, model.reduction, model.dtype) == ("squared_error", "sum", np.float32)


def test_what_a_network_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def network(way: int = 0, input_shape: Any = None, **model: Any) -> None:
        asked.update(way=way, input_shape=input_shape, **model)

    monkeypatch.setitem(NETWORKS, "omniglot", network)
    monkeypatch.setattr("minireptile.backend.fastest", lambda candidates: "cupy")
    experiment.build_model(Settings(way=4, tf32=True), (9, 9, 2))
    assert asked == {
        "way": 4, "input_shape": (9, 9, 2), "reduction": "mean", "backend": "cupy",
        "dtype": "float32", "tf32": True,
    }  # fmt: skip


def tasks_of(built: experiment.Experiment) -> list[Any]:
    return [tasks.data for tasks in (built.train, built.watched, built.test)]  # type: ignore


def test_task_sets(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train on training classes, watch those for validation, test on those for testing."""
    built = experiment.build(settings)
    assert tasks_of(built) == [SPLITS.train, SPLITS.val, SPLITS.test]
    assert [t.n_out for t in (built.train, built.watched, built.test)] == [3, 3, 3]
    assert built.note == "a note"
    assert tasks_of(experiment.build(settings, training=False)) == 3 * [SPLITS.test]
    two = replace(SPLITS, val=None)
    monkeypatch.setitem(SOURCES, "folder", replace(SOURCES["folder"], load=lambda: two))
    assert tasks_of(experiment.build(settings)) == [SPLITS.train, SPLITS.test, SPLITS.test]
    sine = experiment.build(Settings(dataset="sine", network="sine", backend="numpy"))
    assert (sine.train, sine.watched, sine.test, sine.note) == (Sine(), Sine(), Sine(), "")


@pytest.mark.parametrize(("part", "has", "takes"), [("train", 4, 5), ("val", 2, 3), ("test", 2, 3)])
def test_images_are_counted_in_every_class_of_every_split(
    part: str, has: int, takes: int, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A class needs its training shots, or the shots and one query: enough, and one too few in a
    class that the first tasks do not have."""
    enough: dict[str, Any] = {
        "train": tiny_classes(200, 5),
        "val": tiny_classes(5, 3),
        "test": tiny_classes(5, 3),
    }
    experiment_with(Splits(**enough), monkeypatch)
    experiment.build(settings)
    images, each = enough[part], enough[part].counts[0]
    labels = np.arange(len(images.images)) // each
    fewer = from_arrays(images.images[1:], labels[1:])
    experiment_with(Splits(**{**enough, part: fewer}), monkeypatch)
    with pytest.raises(mr.InputError, match=f"of {takes} .*class '0' has {has} images"):
        experiment.build(settings)


def experiment_with(splits: Splits, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SOURCES, "folder", replace(SOURCES["folder"], load=lambda: splits))


def test_for_evaluation_only_the_test_classes_are_asked_for(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment_with(Splits(tiny_classes(1, 1), tiny_classes(3, 3)), monkeypatch)
    experiment.build(settings, training=False)
    with pytest.raises(mr.InputError, match=r"3-way 2-shot needs .*, and there are 1 to train on"):
        experiment.build(settings)
    with pytest.raises(mr.InputError, match="has 3 images"):
        experiment.build(replace(settings, shot=3), training=False)


def test_protocols(settings: Settings) -> None:
    built = experiment.build(settings)
    assert built.protocol(40, 41) == mr.Protocol(
        tasks=40, shot=2, query=1, marks=(13,), batch=4, replacement=True, seed=41,
        stream=Stream.TEST, iteration=0,
    )  # fmt: skip
    assert built.protocol(1, 2, shot=9).shot == 9


@pytest.mark.parametrize(
    ("steps", "marks"),
    [
        (0, (0,)), (1, (0, 1)), (5, (0, 1, 5)), (6, (0, 1, 5, 6)), (32, (0, 1, 5, 10, 32)),
        (50, (0, 1, 5, 10, 32, 50)),
    ],
)  # fmt: skip
def test_functions_are_measured_on_the_way(steps: int, marks: tuple[int, ...]) -> None:
    sine = Settings(dataset="sine", network="sine", backend="numpy", eval_steps=steps)
    assert experiment.build(sine).protocol(1, 0).marks == marks


@pytest.mark.parametrize(
    ("kind", "measure"), [("classification", mr.evaluate), ("regression", mr.evaluate_regression)]
)
def test_each_kind_has_its_measure(kind: str, measure: Any) -> None:
    assert MEASURES[kind].evaluate is measure


def test_whom_an_evaluation_is_of(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The running one of the watched tasks, in this iteration; the one at the end of the test
    tasks, as many and of such a seed as asked for."""
    built, asked = experiment.build(settings), Asked()
    measure = replace(MEASURES["classification"], evaluate=asked)
    monkeypatch.setitem(MEASURES, "classification", measure)
    run = replace(begin(built.model, built.optimizer, built.loops), iteration=34)
    built.watch(run)
    report.measure(built, run, 70, 71)
    sizes: dict[str, Any] = {"shot": 2, "query": 1, "marks": (13,), "batch": 4, "replacement": True}
    running = mr.Protocol(16, **sizes, seed=11, stream=Stream.RUNNING, iteration=34)
    at_the_end = mr.Protocol(70, **sizes, seed=71, stream=Stream.TEST, iteration=0)
    (watched, none), (tested, options) = asked.calls
    for found, tasks, protocol in (
        (watched, built.watched, running), (tested, built.test, at_the_end)
    ):  # fmt: skip
        wanted = (built.model, run.theta, run.state, tasks, built.optimizer)
        assert all(a is b for a, b in zip(found[:5], wanted, strict=True))
        assert found[5] == protocol
    assert (none, list(options)) == ({"map": map}, ["map", "report"])


LOADERS = {
    "glyphs": (
        "minireptile.tasks.glyphs.glyph_splits", (),
        {"train_classes": 9, "drawers": 8, "seed": 11, "rotations": False},
    ),
    "omniglot": (
        "minireptile.tasks.files.omniglot.load_omniglot", ("elsewhere",),
        {"seed": 11, "split": "vinyals", "rotations": False},
    ),
    "miniimagenet": (
        "minireptile.tasks.files.miniimagenet.load_miniimagenet", ("elsewhere",),
        {"split": "vinyals"},
    ),
    "folder": (
        "minireptile.tasks.files.folder.load_folder", ("elsewhere",),
        {"size": 12, "channels": 3, "test_fraction": 0.375, "seed": 11},
    ),
}  # fmt: skip


@pytest.mark.parametrize("dataset", LOADERS)
def test_loaders_get_their_settings(dataset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, places, names = LOADERS[dataset]
    asked = Asked(SPLITS)
    monkeypatch.setattr(name, asked)
    built = experiment.build(Settings(**{**OTHER, "dataset": dataset}))
    assert asked.calls == [(places, names)]
    assert isinstance(built.test, FewShot)


@pytest.mark.parametrize(
    ("dataset", "split"), [("omniglot", "random"), ("miniimagenet", "folders")]
)
def test_the_split_that_is_meant_where_none_is_named(
    dataset: str, split: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Asked(SPLITS)
    monkeypatch.setattr(LOADERS[dataset][0], asked)
    experiment.build(Settings(**{**OTHER, "dataset": dataset, "split": ""}))
    assert [options["split"] for _, options in asked.calls] == [split]


def test_omniglot_lies_where_it_was_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Asked(SPLITS)
    monkeypatch.setattr(LOADERS["omniglot"][0], asked)
    monkeypatch.setattr(download, "cache_folder", lambda: tmp_path)
    settings = Settings(**{**OTHER, "dataset": "omniglot", "data": ""})
    with pytest.raises(mr.InputError, match="omniglot needs --data DIR, or --download"):
        experiment.build(settings)
    (tmp_path / "omniglot").mkdir()
    experiment.build(settings)
    assert [places for places, _ in asked.calls] == [(tmp_path / "omniglot",)]


@pytest.mark.parametrize(
    ("algorithm", "words"),
    [("maml", "SGD, with or without momentum, and not of Adam"), ("imaml", "overshoot theta")],
)
def test_an_algorithm_checks_its_numbers(algorithm: str, words: str) -> None:
    wrong = {"optimizer": "adam"} if algorithm == "maml" else {"inner_lr": 2.0, "prox": 1.0}
    base = {"dataset": "sine", "network": "sine", "backend": "numpy", "optimizer": "sgd"}
    with pytest.raises(mr.InputError, match=words):
        experiment.build(Settings(**{**base, "algorithm": algorithm, **wrong}))  # type: ignore


@pytest.mark.parametrize("algorithm", ["reptile", "joint", "fomaml", "maml", "imaml"])
def test_each_algorithm_runs_and_draws_its_own_way(
    algorithm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Building draws a meta-batch as the algorithm will: with a tail apart, or without."""
    drawn = []
    for name in ("sample", "sample_tail"):
        real = getattr(mr.Loops, name)

        def noted(self: Any, tasks: Any, it: int, name: str = name, real: Any = real) -> Any:
            drawn.append((name, it))
            return real(self, tasks, it)

        monkeypatch.setattr(mr.Loops, name, noted)
    settings = Settings(
        dataset="sine", network="sine", backend="numpy", optimizer="sgd", algorithm=algorithm,
        tail="separate", iterations=2, meta_batch=1, inner_steps=2, seed=3, prox=100.0,
    )  # fmt: skip
    built = experiment.build(settings)
    tail = algorithm in ("fomaml", "maml", "imaml")
    assert drawn == [("sample_tail" if tail else "sample", 0)]
    of_its_name = getattr(mr, algorithm)(mr.sine_mlp(), Sine(), mr.SGD(0.001), built.loops)
    for run, other in zip(built.run(), of_its_name, strict=True):
        assert run.theta.tobytes() == other.theta.tobytes()
    again = list(built.run(run))
    assert again == []  # it starts where it is told to


def bytes_of(monkeypatch: pytest.MonkeyPatch, settings: Settings, **changes: Any) -> int:
    """The memory that just holds a meta-batch."""
    monkeypatch.setattr(memory, "available", lambda: np.inf)
    built = experiment.build(replace(settings, **changes))
    low, high = 0, 2**40
    while high - low > 1:
        middle = (low + high) // 2
        monkeypatch.setattr(memory, "available", partial(int, middle))
        try:
            memory.check(built.settings, built.model, built.optimizer)
            high = middle
        except mr.InputError:
            low = middle
    return high


def test_the_memory_of_a_meta_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """T times phi, its gradient, the moments, MAML's path and the examples, in bytes."""
    P, examples = 4353, 2 * 3 * 4  # the network 1-64-64-1; x and y of 3 mini-batches of 4
    sine = Settings(
        dataset="sine", network="sine", backend="numpy", optimizer="sgd", inner_lr=0.01,
        meta_batch=5, inner_steps=3, inner_batch=4,
    )  # fmt: skip
    needed = partial(bytes_of, monkeypatch)
    assert needed(sine) == 4 * 5 * (2 * P + examples)
    assert needed(sine, dtype="float64", momentum=0.5) == 8 * 5 * (3 * P + examples)
    assert needed(sine, optimizer="adam") == 4 * 5 * (3 * P + examples)
    assert needed(sine, optimizer="adam", beta1=0.5) == 4 * 5 * (4 * P + examples)
    assert needed(sine, algorithm="maml") == 4 * 5 * ((2 + 2) * P + examples)
    assert needed(sine, algorithm="imaml") == 4 * 5 * (2 * P + examples)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"inner_batch": 10**7}, "a meta-batch of 5 tasks needs about 1.1 GiB and this machine has "
                                 "0.9: lower --meta-batch to 4 or less"),
        ({"inner_batch": 10**8}, "3 mini-batches of 100000000 examples of a single task need about "
                                 "2.2 GiB and this machine has 0.9: lower --inner-batch or "
                                 "--inner-steps"),
        ({"network": "omniglot", "dataset": "glyphs", "filters": 99_999_999},
         "269,999,997,200,000,006 parameters of a single task need about 2,011,656,740.3 GiB and "
         "this machine has 0.9: lower --filters or --way"),
    ],
    ids=["tasks", "examples", "network"],
)  # fmt: skip
def test_what_is_too_large_is_named(
    change: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = {"dataset": "sine", "network": "sine", "backend": "numpy", "inner_steps": 3}
    s = Settings(**{**base, **change})
    monkeypatch.setattr(memory, "available", lambda: 10**9)
    with pytest.raises(mr.InputError, match=words):
        memory.check(s, experiment.build_model(s, (6, 6, 1)), mr.SGD(0.1))


@pytest.mark.parametrize(("algorithm", "second"), [("maml", True), ("imaml", False)])
def test_a_gpus_memory_is_asked_for_with_the_tangents_of_maml(
    algorithm: str, second: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    class Gpu:
        def check_memory(self, *sizes: Any, second: bool) -> None:
            asked.append((sizes, second))

    model = mr.sine_mlp(4)
    monkeypatch.setattr(model, "engine", Gpu())
    settings = Settings(
        dataset="sine", network="sine", backend="numpy", algorithm=algorithm,
        inner_steps=3, meta_batch=5, inner_batch=7,
    )  # fmt: skip
    memory.check(settings, model, mr.SGD(0.1))
    assert asked == [((3, 5, 7, np.float32), second)]
