"""The estimators are scikit-learn's in behaviour, as far as few-shot learning allows."""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import minireptile as mr
from minireptile.estimators import base, inputs
from minireptile.tasks.rows import ClassRows, GroupRows

from .small_trained import small_trained

# The checks of scikit-learn's that these estimators do not pass, and why. There is none today.
EXPECTED_TO_FAIL: dict[str, str] = {}


def images(n: int = 12, seed: int = 0) -> tuple[NDArray, NDArray]:
    """Flattened 6 x 6 images of three classes, n in all, with labels of strings."""
    rng, labels = np.random.default_rng(seed), np.arange(n) % 3
    centres = np.random.default_rng(1).uniform(0.2, 0.8, (3, 36))
    x = np.clip(centres[labels] + rng.normal(0, 0.05, (n, 36)), 0, 1)
    return x, np.array(["gimel", "alef", "bet"])[labels]


@pytest.mark.parametrize("kind", [mr.FewShotClassifier, mr.FewShotRegressor])
def test_scikit_learns_own_checks(kind: type) -> None:
    checks = pytest.importorskip(
        "sklearn.utils.estimator_checks", reason="scikit-learn is not installed"
    )
    estimator = kind(start=None)
    with pytest.warns(UserWarning, match="does not inherit from `sklearn.base.BaseEstimator`"):
        found = checks.check_estimator(
            estimator, on_fail=None, on_skip=None, expected_failed_checks=EXPECTED_TO_FAIL
        )
    failed = {r["check_name"]: r["exception"] for r in found if r["status"] == "failed"}
    assert not failed
    passed = {r["check_name"] for r in found if r["status"] == "passed"}
    assert len(passed) > 30
    assert {"check_estimators_pickle", "check_fit2d_1sample", "check_estimators_nan_inf"} <= passed
    unexpected = EXPECTED_TO_FAIL.keys() & passed
    assert not unexpected, "they pass: take them out of the table"


def test_a_column_of_labels_without_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "sklearn.exceptions", raising=False)
    with pytest.warns(UserWarning, match="column-vector"):
        assert inputs.column(np.arange(3)[:, None]).tolist() == [0, 1, 2]


def test_in_a_pipeline_and_in_cross_validation() -> None:
    reason = "scikit-learn is not installed"
    pipeline = pytest.importorskip("sklearn.pipeline", reason=reason)
    selection = pytest.importorskip("sklearn.model_selection", reason=reason)
    scaling = pytest.importorskip("sklearn.preprocessing", reason=reason)
    x, y = images(24)
    estimator = mr.FewShotClassifier(start=small_trained(), steps=30)
    steps = pipeline.make_pipeline(scaling.MinMaxScaler(clip=True), estimator)
    scores = selection.cross_val_score(steps, x, y, cv=4)
    assert scores.shape == (4,)
    assert scores.mean() > 0.9
    grid = selection.GridSearchCV(estimator, {"steps": [0, 30]}, cv=2).fit(x, y)
    assert grid.best_params_ == {"steps": 30}
    assert grid.best_estimator_.start is not estimator.start, "a clone has copies"
    assert "start=" in repr(steps)


def test_it_is_the_trained_model_adapted() -> None:
    x, y = images()
    trained = replace(small_trained(), batch=3, seed=5)
    estimator = mr.FewShotClassifier(start=small_trained(), batch=3, seed=5)
    adapted = trained.adapt(x, y)
    assert estimator.fit(x, y) is estimator
    np.testing.assert_array_equal(estimator.classes_, ["alef", "bet", "gimel"])
    np.testing.assert_array_equal(estimator.loss_, adapted.loss)
    queries, _ = images(5, seed=2)
    np.testing.assert_array_equal(estimator.predict_proba(queries), adapted.probabilities(queries))
    np.testing.assert_array_equal(estimator.predict(queries), adapted.predict(queries))
    estimator.set_params(transductive=True)
    together = adapted.probabilities(queries, transductive=True)
    np.testing.assert_array_equal(estimator.predict_proba(queries), together)
    truth = estimator.predict(queries)
    assert estimator.score(queries, truth) == 1
    truth[0] = "alef" if truth[0] != "alef" else "bet"
    assert estimator.score(queries, truth, sample_weight=[6, 1, 1, 1, 1]) == pytest.approx(0.4)


@pytest.mark.parametrize("shape", [(-1, 36), (-1, 6, 6), (-1, 6, 6, 1)])
def test_images_come_flat_or_as_they_are(shape: tuple[int, ...]) -> None:
    x, y = images()
    wanted = mr.FewShotClassifier(small_trained()).fit(x, y).predict_proba(x)
    estimator = mr.FewShotClassifier(small_trained()).fit(x.reshape(shape), y)
    np.testing.assert_array_equal(estimator.predict_proba(x.reshape(shape)), wanted)
    assert estimator.n_features_in_ == 36


def test_a_start_may_be_a_name_or_a_network_of_ones_own() -> None:
    known, estimator = mr.pretrained("glyphs"), mr.FewShotClassifier("glyphs", steps=0)
    estimator.fit(np.random.default_rng(0).random((4, 28, 28)), [0, 0, 1, 1])
    np.testing.assert_array_equal(estimator.adapted_.trained.theta, known.theta)
    model = mr.Model([mr.Dense(3)], (36,))
    own = mr.FewShotClassifier(None, model=model, seed=5).fit(*images()).adapted_.trained
    assert own.model is model
    np.testing.assert_array_equal(own.theta, model.init(5))


@pytest.mark.parametrize("kind", [mr.FewShotClassifier, mr.FewShotRegressor])
def test_parameters_come_back_as_they_were_given(kind: Any) -> None:
    given = {"start": 1, "model": 2, "steps": 3, "batch": 4, "lr": 5, "transductive": 6,
             "seed": 7, "backend": 8}  # fmt: skip
    assert kind(**given).get_params() == given


def test_rate_and_steps_replace_those_of_the_start() -> None:
    x, y = images()
    estimator = mr.FewShotClassifier(small_trained(), steps=2, lr=0.5).fit(x, y)
    used = estimator.adapted_.trained
    assert (used.steps, used.batch, used.seed) == (2, 4, 0)
    assert used.optimizer == mr.Adam(0.5, beta1=0.0)


def test_partial_fit_goes_on() -> None:
    x, y = images()
    trained = replace(small_trained(), seed=0)
    estimator = mr.FewShotClassifier(small_trained())
    estimator.partial_fit(x[:1], y[:1], classes=["alef", "bet", "gimel"])
    estimator.partial_fit(x[1:], y[1:])
    wanted = trained.adapt(x[:1], y[:1], classes=["alef", "bet", "gimel"]).adapt(x[1:], y[1:])
    np.testing.assert_array_equal(estimator.predict_proba(x), wanted.probabilities(x))
    assert len(estimator.loss_) == 2 * trained.steps
    estimator.fit(x, y)
    assert len(estimator.loss_) == trained.steps, "fit begins anew"
    first = mr.FewShotClassifier(small_trained()).partial_fit(x, y)
    np.testing.assert_array_equal(first.predict_proba(x), estimator.predict_proba(x))


def test_meta_fit_trains_what_fit_starts_from() -> None:
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((8, 5))
    y = np.repeat(np.arange(8), 6)
    x = centres[y] + 0.1 * rng.standard_normal((48, 5))
    loops, seen = mr.Loops(iterations=4, train_shots=3, inner_batch=4), []
    estimator = mr.FewShotClassifier(start=None, steps=3)
    estimator.meta_fit(x, y, way=3, loops=loops, report=lambda run: seen.append(run.iteration))
    assert seen == [1, 2, 3, 4]
    model = mr.Model([mr.Dense(32), mr.Tanh(), mr.Dense(3)], (5,))
    tasks = ClassRows(x.astype(np.float32), y, 3)
    *_, run = mr.reptile(model, tasks, mr.Adam(0.01, beta1=0.0), loops)
    np.testing.assert_array_equal(estimator.meta_.theta, run.theta)
    np.testing.assert_array_equal(estimator.meta_.state["v"], run.state["v"])
    estimator.fit(x[:12], y[:12])
    np.testing.assert_array_equal(
        estimator.adapted_.loss, replace(estimator.meta_, steps=3).adapt(x[:12], y[:12]).loss
    )
    again = mr.FewShotClassifier(start=estimator.meta_).fit(x[:12], y[:12])
    np.testing.assert_array_equal(again.predict_proba(x), estimator.predict_proba(x))
    assert repr(estimator.meta_).startswith("Trained on examples of one's own by reptile, 4 iter")


def test_meta_fit_goes_on_from_a_trained_model(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = images(24)
    trained, loops = small_trained(), mr.Loops(iterations=2, train_shots=4, inner_batch=4)
    start = mr.Snapshot(0, trained.theta, trained.state, np.empty((0, 0)))
    tasks = ClassRows(trained.examples(x), y, 3)
    *_, run = mr.reptile(trained.model, tasks, trained.optimizer, loops, start)
    estimator = mr.FewShotClassifier(trained).meta_fit(x, y, way=3, loops=loops)
    np.testing.assert_array_equal(estimator.meta_.theta, run.theta)
    asked = []

    def noted(model: Any, tasks: Any, optimizer: Any, loops: Any, start: Any) -> list[Any]:
        asked.append((tasks.n_out, loops))
        return []

    monkeypatch.setattr(base, "reptile", noted)
    mr.FewShotClassifier(trained).meta_fit(x, y, way=2)  # 8 examples of each class
    mr.FewShotClassifier(trained).meta_fit(*images(60), way=3)
    assert [(way, loops.train_shots) for way, loops in asked] == [(2, 8), (3, 10)]


def test_a_regressor_learns_functions_and_a_function() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(6), 12)
    x = rng.uniform(-1, 1, (72, 1))
    y = (groups - 2.5) * x[:, 0]
    estimator = mr.FewShotRegressor(seed=3).meta_fit(
        x, y, groups, loops=mr.Loops(iterations=3, train_shots=6)
    )
    assert estimator.meta_.card["iteration"] == 3
    estimator.fit(x[:12], y[:12])
    assert estimator.predict(x[:4]).shape == (4,)
    assert estimator.score(x[:12], y[:12]) > 0.9
    residual = ((y[:12] - estimator.predict(x[:12])) ** 2).sum()
    r2 = 1 - residual / ((y[:12] - y[:12].mean()) ** 2).sum()
    assert estimator.score(x[:12], y[:12]) == pytest.approx(r2)
    weights = np.arange(12.0)
    centre = np.average(y[:12], weights=weights)
    r2 = (
        1
        - (weights * (y[:12] - estimator.predict(x[:12])) ** 2).sum()
        / (weights * (y[:12] - centre) ** 2).sum()
    )
    assert estimator.score(x[:12], y[:12], weights) == pytest.approx(r2)
    both = np.stack([y, -y], 1)
    two = mr.FewShotRegressor().fit(x[:12], both[:12])
    assert two.predict(x[:4]).shape == (4, 2)
    assert two.score(x[:12], both[:12]) > 0.9
    steps = len(two.loss_)
    assert len(two.partial_fit(x[:12], both[:12]).loss_) == 2 * steps


def test_rows_make_tasks() -> None:
    x, y = np.arange(12.0)[:, None], np.repeat([3, 1, 2], 4)
    assert ClassRows(np.zeros((12, 5, 4, 1)), y, 2).input_shape == (5, 4, 1)
    assert GroupRows(np.zeros((12, 5, 4, 1)), x, y).input_shape == (5, 4, 1)
    task = ClassRows(x, y, 2).draw(np.random.default_rng(0), 2, 1)
    assert task.support_x.shape == (4, 1)
    np.testing.assert_array_equal(task.support_y, [0, 0, 1, 1])
    np.testing.assert_array_equal(task.query_y, [0, 1])
    for c in (0, 1):  # support and query of a class are of one of the blocks of four, and differ
        rows = [*task.support_x[task.support_y == c, 0], task.query_x[c, 0]]
        assert len(set(rows)) == 3
        assert len({row // 4 for row in rows}) == 1
    for seed in range(9):
        task = ClassRows(x, y, 2).draw(np.random.default_rng(seed), 1, 1)
        first, second = task.support_x[:, 0] // 4
        assert first != second, "a class comes once"
    task = GroupRows(x, -x, y).draw(np.random.default_rng(0), 2, 2)
    np.testing.assert_array_equal(task.support_y, -task.support_x)
    np.testing.assert_array_equal(task.query_y, -task.query_x)
    rows = [*task.support_x[:, 0], *task.query_x[:, 0]]
    assert len(set(rows)) == 4
    assert len({row // 4 for row in rows}) == 1
    for tasks in (ClassRows(x, y, 2), GroupRows(x, x, y)):
        with pytest.raises(
            mr.InputError, match=r"has 4 examples, and a task takes 5.*: lower train_shots$"
        ):
            tasks.draw(np.random.default_rng(0), 3, 2)
    with pytest.raises(mr.InputError, match="4-way tasks need 4 classes, and y has 3"):
        ClassRows(x, y, 4)
    with pytest.raises(mr.InputError, match=r"^way must be at least 2, not 1$"):
        ClassRows(x, y, 1)
    wrong: Any = 3
    with pytest.raises(mr.InputError, match=r"^ClassRows\.draw: rng must be"):
        ClassRows(x, y, 2).draw(wrong, 1, 1)
    with pytest.raises(mr.InputError, match=r"^GroupRows\.draw: rng must be"):
        GroupRows(x, x, y).draw(wrong, 1, 1)


def fitted() -> Any:
    return mr.FewShotClassifier(small_trained()).fit(*images())


T = small_trained()
X, Y = images()
Classifier: Any = mr.FewShotClassifier  # of which the type checker asks nothing
WRONG: dict[str, tuple[Any, str]] = {
    "nan": (
        lambda: Classifier(T).fit(X * np.nan, Y),
        "^X holds NaN or infinity: clean the data first$",
    ),
    "one class": (lambda: Classifier(T).fit(X, Y == "one"), "one class alone, False"),
    "features": (lambda: fitted().predict(X[:, :5]), "X has 5 features, but FewShotClassifier is"),
    "network": (lambda: Classifier(T).fit(X[:, :5], Y), "5 features, and the network ta"),
    "partial": (lambda: fitted().partial_fit(X[:, :5], Y), "X has 5 features"),
    "unseen": (lambda: fitted().partial_fit(X[:1], ["dalet"]), "no class 'dalet'"),
    "lengths": (lambda: Classifier(T).fit(X, Y[:3]), r"12 examples, and y has shape"),
    "one row": (lambda: fitted().predict(X[0]), r": X\.reshape\(1, -1\) if it is one example$"),
    "no y": (lambda: Classifier(T).fit(X, None), "requires y"),
    "start": (
        lambda: Classifier(3).fit(X, Y),
        "^start must be a Trained, the name of one that ships with the package, the folder "
        "of a run or None, not 3$",
    ),
    "name": (lambda: Classifier("none").fit(X, Y), "there is no checkpoint none"),
    "loss": (
        lambda: mr.FewShotRegressor(T).fit(X, np.arange(12)),
        "needs a model with the loss sq",
    ),
    "parameter": (lambda: fitted().set_params(alpha=1), "no parameter 'alpha': choose of start"),
    "y": (
        lambda: mr.FewShotRegressor().fit(X, [np.nan] * 12),
        "^Input y contains NaN or infinity: clean the data first$",
    ),
    "steps": (lambda: Classifier(T, steps=0.5).fit(X, Y), "steps must be a whole number"),
    "way": (lambda: Classifier(T).meta_fit(X, Y, way=4), "4 classes, and y has 3"),
    "complex": (
        lambda: Classifier(T).fit(X * 1j, Y),
        "^Complex data not supported: X must hold real numbers$",
    ),
    "fractions": (
        lambda: Classifier(T).fit(X, np.arange(12) / 2),
        "^Unknown label type: continuous. y must hold labels, no fractions$",
    ),
    "sparse": (
        lambda: fitted().predict(Sparse()),
        r"^sparse X is not supported: pass X\.toarray\(\)$",
    ),
}


class Sparse:
    """What a sparse matrix has."""

    def toarray(self) -> NDArray:
        return X


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_a_value_error_of_one_sentence(case: str) -> None:
    wrong, sentence = WRONG[case]
    with pytest.raises(ValueError, match=sentence) as caught:
        wrong()
    assert isinstance(caught.value, mr.InputError)
    assert "\n" not in str(caught.value)


def test_a_fitted_estimator_pickles() -> None:
    estimator = fitted()
    other = pickle.loads(pickle.dumps(estimator))
    np.testing.assert_array_equal(other.predict_proba(X), estimator.predict_proba(X))
    assert repr(mr.FewShotClassifier()) == "FewShotClassifier()"
    assert repr(mr.FewShotClassifier(None, lr=0.5)) == "FewShotClassifier(start=None, lr=0.5)"


def test_without_scikit_learn_it_works_and_does_not_load_it() -> None:
    code = (
        "import sys, numpy as np, minireptile as mr\n"
        "e = mr.FewShotClassifier(start=None, steps=2)\n"
        "try: e.predict(np.eye(3))\n"
        "except mr.InputError as error: print('not fitted' in str(error))\n"
        "print(e.fit(np.eye(3), ['a', 'b', 'c']).predict(np.eye(3)).shape)\n"
        "print('sklearn' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["True", "(3,)", "False"], done.stderr
