"""A trained model in use agrees with the evaluation, for any number of classes."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import minireptile as mr
from minireptile.evaluate import Protocol, adapt_unseen
from minireptile.head import with_outputs
from minireptile.rng import Stream, generator
from minireptile.tasks.base import minibatches
from tests.small import assert_same_state, tiny_model, tiny_tasks

from .small_trained import small_trained


@pytest.mark.parametrize("replacement", [False, True])
def test_predictions_on_an_evaluation_task_are_those_of_the_evaluation(replacement: bool) -> None:
    trained = replace(small_trained(), replacement=replacement)
    noise = np.random.default_rng(0).random((30, 6, 6))  # where every digit decides
    tasks, count = mr.FewShot(mr.from_arrays(noise, np.arange(30) // 6), 3), 11
    protocol = Protocol(count, 2, 1, (trained.steps,), trained.batch, replacement, seed=8)
    parts = trained.model, trained.theta, trained.state, tasks, trained.optimizer, protocol
    ((_, phi, _),) = adapt_unseen(*parts)
    right: dict[bool, list[float]] = {False: [], True: []}
    for i in range(count):
        rng = generator(8, Stream.TEST, 0, i)
        task = tasks.draw(rng, 2, 1)
        adapted = trained.adapt(task.support_x, task.support_y, rng)
        np.testing.assert_allclose(adapted.phi, phi[i], rtol=1e-9, atol=1e-12)
        for transductive, fractions in right.items():
            odds = adapted.probabilities(task.query_x, transductive)
            np.testing.assert_allclose(odds.sum(1), 1, rtol=1e-12)
            fractions.append(np.mean(odds.argmax(1) == task.query_y))
            assert (adapted.predict(task.query_x, transductive) == odds.argmax(1)).all()
    found = mr.evaluate(*parts)
    assert found.accuracy == pytest.approx(np.mean(right[False]))
    assert found.transductive_accuracy == pytest.approx(np.mean(right[True]))
    assert found.accuracy != found.transductive_accuracy, "the test cannot tell them apart"


def test_a_query_alone_is_the_last_of_a_batch_with_the_support_set() -> None:
    trained, task = small_trained(), tiny_tasks().draw(np.random.default_rng(0), 1, 2)
    adapted = trained.adapt(task.support_x, task.support_y)
    for i, query in enumerate(task.query_x):
        beside = np.concatenate([task.support_x, query[None]])
        wanted = trained.model.forward(adapted.phi, beside)[-1]
        np.testing.assert_allclose(adapted.outputs(task.query_x)[i], wanted, rtol=1e-12)
    assert adapted.outputs(task.query_x[:0]).shape == (0, 3)
    assert adapted.outputs(task.query_x[:0], transductive=True).shape == (0, 3)


def test_the_steps_start_from_the_state_and_their_losses_are_kept() -> None:
    trained, task = small_trained(), tiny_tasks().draw(np.random.default_rng(0), 2, 1)
    rng = generator(trained.seed, Stream.EXAMPLE)
    order = minibatches(rng, 6, trained.steps, trained.batch, False)
    phi, state = trained.theta.copy(), {n: a.copy() for n, a in trained.state.items()}
    x, y = task.support_x[order], task.support_y[order]
    loss = mr.adapt(trained.model, phi, x, y, trained.optimizer, state)
    adapted = trained.adapt(task.support_x, task.support_y)
    np.testing.assert_array_equal(adapted.phi, phi)
    np.testing.assert_array_equal(adapted.loss, loss)
    assert_same_state(adapted.state, state)
    fresh = replace(trained, state={}).adapt(task.support_x, task.support_y)
    assert abs(fresh.phi - adapted.phi).max() > 1e-3
    assert trained.state["t"] == 700, "what was trained is as it was"


def test_to_go_on_is_to_take_more_steps() -> None:
    trained, task = small_trained(), tiny_tasks().draw(np.random.default_rng(0), 4, 1)
    x, y = task.support_x, task.support_y
    once = trained.adapt(x[::2], y[::2], np.random.default_rng(0))
    twice = once.adapt(x[1::2], y[1::2], np.random.default_rng(1))
    phi, state = trained.theta.copy(), {n: a.copy() for n, a in trained.state.items()}
    for part, seed in ((0, 0), (1, 1)):
        order = minibatches(np.random.default_rng(seed), 6, 6, 4, False)
        xs, ys = x[part::2][order], y[part::2][order]
        mr.adapt(trained.model, phi, xs, ys, trained.optimizer, state)
    np.testing.assert_array_equal(twice.phi, phi)
    assert_same_state(twice.state, state)
    assert len(twice.loss) == 12
    np.testing.assert_array_equal(twice.x, np.concatenate([x[::2], x[1::2]]))


@pytest.mark.parametrize("labels", [[7, -2, 3], ["b", "a", "c"], [True, False]])
def test_classes_come_back_as_they_were_named(labels: list[Any]) -> None:
    trained = replace(small_trained(), steps=60)
    x = np.random.default_rng(0).uniform(0, 1, (len(labels), 36))
    adapted = trained.adapt(x, labels)
    assert adapted.classes is not None
    assert list(adapted.classes) == sorted(labels)
    assert list(adapted.predict(x)) == labels
    if isinstance(labels[0], str):  # NumPy's strings are strings
        labels = [np.str_(labels[0]), *labels[1:]]
    as_objects = trained.adapt(x, np.array(labels, object))
    np.testing.assert_array_equal(as_objects.predict(x), labels)


def test_a_resized_network_differs_in_its_last_layer_alone() -> None:
    options: dict[str, Any] = {"loss": "squared_error", "reduction": "sum"}
    model = mr.Model([mr.Dense(2), mr.Tanh(), mr.Dense(3, bias=False)], (4,), **options)
    theta = model.init(0)
    resized, more, _ = with_outputs(model, theta, {}, 5)
    assert more.dtype == resized.dtype == np.float32
    wanted = mr.Model([*model.layers[:-1], mr.Dense(5, bias=False)], (4,), **options)
    assert resized.plan == wanted.plan
    double = mr.Model(model.layers, (4,), dtype="float64")
    assert with_outputs(double, double.init(0), {}, 5)[0].dtype == np.float64


@pytest.mark.parametrize("n", [2, 3, 5])
def test_more_classes_get_a_last_layer_of_their_own_and_fewer_the_first_outputs(n: int) -> None:
    trained = small_trained()
    model, theta, state = with_outputs(trained.model, trained.theta, trained.state, n)
    assert model.n_out == max(n, 3)
    assert (model is trained.model) == (n <= 3)
    for had, has in ((trained.theta, theta), (trained.state["v"], state["v"])):
        assert has.dtype == had.dtype
        before, after = trained.model.unflatten(had), model.unflatten(has)
        for name, array in after.items():
            if n > 3 and name.startswith("dense"):
                mean = before[name].mean(-1, keepdims=True)
                np.testing.assert_array_equal(array, np.broadcast_to(mean, array.shape))
            else:
                np.testing.assert_array_equal(array, before[name])
    assert state["t"] == 700
    x = np.random.default_rng(0).uniform(0, 1, (n, 6, 6))
    adapted = replace(trained, steps=60).adapt(x, range(n))
    assert adapted.probabilities(x).shape == (n, n)
    assert list(adapted.predict(x)) == list(range(n)), "equal columns do not come apart"


def test_probabilities_are_among_the_classes_there_are() -> None:
    trained, x = small_trained(), NOISE
    adapted = trained.adapt(x, ["b", "a"])
    for transductive in (False, True):
        odds = adapted.probabilities(x, transductive)
        assert odds.shape == (2, 2)
        np.testing.assert_allclose(odds.sum(1), 1)
    beside = np.concatenate([x, x[:1]]).reshape(-1, 6, 6, 1)
    logits = trained.model.forward(adapted.phi, beside)[-1]
    assert logits.shape == (3,)
    wanted = np.exp(logits[:2]) / np.exp(logits[:2]).sum()
    np.testing.assert_allclose(adapted.probabilities(x)[0], wanted)


def test_classes_without_examples_have_outputs_too() -> None:
    adapted = small_trained().adapt(np.ones((1, 36)), ["b"], classes=["a", "b", "c", "d"])
    assert adapted.probabilities(np.ones((2, 36))).shape == (2, 4)
    assert list(adapted.predict(np.ones((1, 36)))) == ["b"]


def test_fewer_examples_than_a_batch_drawn_anew_are_taken_whole() -> None:
    """Where they are dealt out, a batch has some of them twice."""
    for replacement, batch in ((True, 2), (False, 9)):
        trained = replace(small_trained(), replacement=replacement, batch=9)
        order = minibatches(np.random.default_rng(0), 2, 6, batch, replacement)
        phi, state = trained.theta.copy(), {n: a.copy() for n, a in trained.state.items()}
        x = NOISE.reshape(2, 6, 6, 1)
        loss = mr.adapt(trained.model, phi, x[order], order, trained.optimizer, state)
        adapted = trained.adapt(NOISE, [0, 1], np.random.default_rng(0))
        np.testing.assert_array_equal(adapted.loss, loss)


def test_a_regression_predicts_numbers() -> None:
    model = mr.Model([mr.Dense(8), mr.Tanh(), mr.Dense(2)], (1,), "squared_error", dtype="float64")
    trained = mr.Trained(model, model.init(0), {}, mr.Adam(0.01), steps=300, batch=8)
    x = np.linspace(-1, 1, 8)[:, None]
    y = np.concatenate([x, -x], axis=1)
    adapted = trained.adapt(x, y)
    assert adapted.classes is None
    assert adapted.loss[-1] < 0.1 * adapted.loss[0]
    np.testing.assert_allclose(adapted.predict(x), y, atol=0.3)
    assert repr(adapted).startswith("Adapted to 8 examples in 300 steps, loss ")
    other = trained.adapt(x, y, np.random.default_rng(5))
    assert (other.loss != adapted.loss).any(), "another order"
    same = trained.adapt(x, y, np.random.default_rng(5))
    np.testing.assert_array_equal(same.loss, other.loss)
    with pytest.raises(
        mr.InputError, match=r"^a regression has no classes to tell probabilities of$"
    ):
        adapted.probabilities(x)


def test_queries_are_taken_one_by_one_unless_asked() -> None:
    layers = [mr.Dense(4), mr.BatchNorm(), mr.Dense(1)]
    model, rng = mr.Model(layers, (2,), "squared_error"), np.random.default_rng(0)
    trained = mr.Trained(model, model.init(0), {}, mr.SGD(0.1), steps=3, batch=2)
    adapted = trained.adapt(rng.random((4, 2)), rng.random(4))
    x = rng.random((3, 2))
    alone, together = adapted.outputs(x, False), adapted.outputs(x, True)
    assert alone.dtype == together.dtype == np.float32
    assert (alone != together).all()
    for found in (adapted.outputs(x), adapted.predict(x), adapted.predict(x, False)):
        np.testing.assert_array_equal(found, alone)
    np.testing.assert_array_equal(adapted.predict(x, True), together)
    classifier, noise = small_trained().adapt(NOISE, [0, 1]), rng.random((3, 36))
    odds = classifier.probabilities(noise, False)
    assert (odds != classifier.probabilities(noise, True)).any()
    np.testing.assert_array_equal(classifier.probabilities(noise), odds)


def test_copies_compute_the_same() -> None:
    trained, x = small_trained(), np.random.default_rng(0).uniform(0, 1, (3, 36))
    adapted = trained.adapt(x, [0, 1, 2])
    wanted = adapted.outputs(x)
    for other in (copy.deepcopy(adapted), pickle.loads(pickle.dumps(adapted))):
        np.testing.assert_array_equal(other.outputs(x), wanted)
        assert other.trained.model.dtype == trained.model.dtype
        np.testing.assert_array_equal(other.trained.adapt(x, [0, 1, 2]).outputs(x), wanted)


def test_records_say_what_they_are() -> None:
    trained = small_trained(card={"dataset": "noise", "algorithm": "fomaml", "iteration": 9000})
    assert repr(trained).startswith("Trained on noise by fomaml, 9,000 iterations\n")
    assert "from (6, 6, 1) to 3 outputs" in repr(trained)
    assert "6 steps of 4 examples by Adam(lr=0.01" in repr(trained)
    adapted = trained.adapt(np.ones((2, 36)), [0, 1])
    assert repr(adapted).startswith("Adapted to 2 examples of 2 classes in 6 steps, loss 1.")


X = np.zeros((2, 6, 6, 1))
LINE = mr.Model([mr.Dense(1)], (1,), "squared_error")
DEEP = mr.Model([mr.Dense(4), mr.Dense(4), mr.Dense(2)], (36,), dtype="float64")
NOISE = np.random.default_rng(0).random((2, 36))
WRONG = {
    "shape": (lambda t: t.adapt(X[:, :5], [0, 1]), r"x must be \(n, 6, 6, 1\) or \(n, 36\), as"),
    "number": (lambda t: t.adapt(3, [0, 1]), r"got \(\)"),
    "nan": (lambda t: t.adapt(X * np.nan, [0, 1]), "x holds NaN or infinity"),
    "range": (lambda t: t.adapt(X + 255, [0, 1]), "between 0 and 1.* from 255 to 255: scale it"),
    "below": (lambda t: t.adapt(X - 0.5, [0, 1]), "goes from -0.5 to -0.5"),
    "length": (lambda t: t.adapt(X, [0, 1, 1]), "x has 2 examples and y has 3"),
    "one class": (lambda t: t.adapt(X, ["a", "a"]), "one class alone, 'a'"),
    "empty": (
        lambda t: t.adapt(X[:0], []),
        "^the support set is empty: give an example of each class$",
    ),
    "targets": (
        lambda t: mr.Trained(LINE, LINE.init(0), {}, mr.SGD(0.1)).adapt([[1.0]], [np.nan]),
        "^y holds NaN or infinity: clean the data first$",
    ),
    "unseen": (lambda t: t.adapt(X, [0, 1]).adapt(X, [1, 2]), "no class 2"),
    "fractions": (
        lambda t: t.adapt(X, [0.5, 1]),
        "^y must hold labels, and it holds fractions, NaN or infinity$",
    ),
    "mixed": (lambda t: t.adapt(X, np.array([0, "a"], object)), "must be a list of labels"),
    "no more": (
        lambda t: t.adapt(X, [0, 1]).adapt(X[:0], np.array([], int)),
        "^the support set is empty: give some examples$",
    ),
    "query": (lambda t: t.adapt(X, [0, 1]).predict(X[0]), "x must be"),
    "flag": (lambda t: t.adapt(X, [0, 1]).predict(X, 1), "transductive must be True or False"),
    "diverged": (
        lambda t: mr.Trained(DEEP, DEEP.init(0), {}, mr.SGD(1e200)).adapt(NOISE, [0, 1]),
        "^the steps diverged, to NaN or infinity: lower the learning rate$",
    ),
    "theta": (lambda t: replace(t, theta=t.theta[:-1]), "Trained: theta must be"),
    "two thetas": (lambda t: replace(t, theta=t.theta[None]), "Trained: theta must be"),
    "state": (lambda t: replace(t, state={"v": t.state["v"]}), "state lacks 't'"),
    "no state": (lambda t: replace(t, state=None), "must be a dictionary"),
    "steps": (lambda t: replace(t, steps=-1), "Trained: steps must be at least 0"),
    "batch": (lambda t: replace(t, batch=0), "Trained: batch must be at least 1"),
    "model": (lambda t: replace(t, model=mr.Model), "model must be a Model"),
    "optimizer": (lambda t: replace(t, optimizer=mr.SGD), "optimizer must be SGD"),
}


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_wrong_input_gets_one_sentence(case: str) -> None:
    wrong, sentence = WRONG[case]
    trained = small_trained(card={"range": [0, 1]})
    with pytest.raises(mr.InputError, match=sentence) as caught:
        wrong(trained)
    assert "\n" not in str(caught.value)


def test_a_sure_network_has_probabilities_too() -> None:
    adapted = small_trained().adapt(NOISE, [0, 1])
    sure = replace(adapted, phi=1e4 * adapted.phi)
    odds = sure.probabilities(NOISE)
    assert abs(sure.outputs(NOISE)).max() > 1000
    np.testing.assert_allclose(odds.sum(1), 1)


def test_a_network_that_ends_otherwise_keeps_its_outputs() -> None:
    model = mr.Model([mr.Dense(3), mr.BatchNorm()], (4,), dtype="float64")
    trained = mr.Trained(model, model.init(0), {}, mr.SGD(0.1))
    assert trained.adapt(np.eye(4)[:3], [0, 1, 2]).trained.model is model
    sentence = (
        "the network has 3 outputs, and there are 4 classes: only a network that ends in Dense "
        "can be given more"
    )
    with pytest.raises(mr.InputError, match=f"^{sentence}$"):
        trained.adapt(np.eye(4), range(4))


def test_a_state_may_be_of_arrays_that_cannot_be_written() -> None:
    trained = small_trained()
    state = {n: a.copy() for n, a in trained.state.items()}
    for array in state.values():
        array.setflags(write=False)
    x = np.random.default_rng(0).random((3, 36))
    found = replace(trained, state=state).adapt(x, [0, 1, 2])
    np.testing.assert_array_equal(found.phi, trained.adapt(x, [0, 1, 2]).phi)


def test_an_outer_optimizers_state_is_left_behind() -> None:
    model = tiny_model()
    state = {"outer.v": np.zeros(model.size), "outer.t": np.array(1)}
    assert mr.Trained(model, model.init(0), state, mr.SGD(0.1)).state == {}
