"""How performance on unseen tasks is measured, and how a person reads it: a record each kind."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ..evaluate import Accuracy, Regression, evaluate, evaluate_regression
from .settings import Settings

Result = Accuracy | Regression
Values = dict[str, tuple[float, float | None]]  # by name: a mean, and half its 95 % interval

MARKS = (0, 1, 5, 10, 32)  # inner steps after which a function is looked at


@dataclass(frozen=True)
class Measure:
    """How tasks of one kind are measured. The texts are filled in from the settings."""

    evaluate: Callable[..., Result]  # as `minireptile.evaluate`
    # The inner steps to measure after, of all that are taken.
    marks: Callable[[int], tuple[int, ...]]
    # The figures to show of a result, as `asdict` and JSON give it: the one to watch comes last.
    # KeyError, TypeError or ValueError where it is none.
    values: Callable[[Mapping[str, Any]], Values]
    # Of the table, of the picture's axis and of the picture, how the folder of a run begins for
    # which none was named, and the name and the form of the last value in the progress bar.
    title: str
    axis: str
    heading: str
    folder: str
    headline: tuple[str, str]
    # Which of the values stands for a result in a list of runs, its form, and its unit.
    figure: tuple[int, str, str]
    scale: str = "linear"  # of the picture's axis
    # What guessing would reach, if there is such a level.
    chance: Callable[[Settings], float | None] = lambda s: None

    def short(self, values: Values) -> str:
        """What stands for a result in a list of runs; "-" without any."""
        if not values:
            return "-"
        index, form, unit = self.figure
        mean, half = list(values.values())[index]
        return form.format(mean) + ("" if half is None else f" ± {form.format(half)}") + unit

    def shown(self, result: Result) -> Values:
        """The figures to show of a result."""
        return self.values(asdict(result))


def _percentages(result: Mapping[str, Any]) -> Values:
    def percent(value: Any) -> float:
        return 100 * float(value)

    def half(value: Any) -> float | None:
        return None if value is None else percent(value)

    names = "accuracy", "transductive_accuracy"
    return {
        n.replace("_", " "): (percent(result[n]), half(result[f"{n}_ci95"])) for n in names
    }  # fmt: skip


def _errors(result: Mapping[str, Any]) -> Values:
    rows = zip(result["steps"], result["mse"], result["mse_ci95"], strict=True)
    return {
        f"{steps} steps": (float(mse), None if half is None else float(half))
        for steps, mse, half in rows
    }


MEASURES = {
    "classification": Measure(
        evaluate,
        lambda steps: (steps,),
        _percentages,
        title="{way}-way {shot}-shot accuracy in %, on {tasks} tasks of unseen classes "
        "of {dataset}",
        axis="{way}-way {shot}-shot accuracy, %",
        heading="{algorithm} on {dataset}, {way}-way",
        folder="{dataset}-{way}way-{shot}shot-{algorithm}",
        headline=("transductive", "{:.1f}%"),
        figure=(0, "{:.1f}", " %"),
        chance=lambda s: 100 / s.way,
    ),
    "regression": Measure(
        evaluate_regression,
        lambda steps: (*(mark for mark in MARKS if mark < steps), steps),
        _errors,
        title="mean squared error on {tasks} unseen tasks of {dataset}, {shot} points each",
        axis="mean squared error",
        heading="{algorithm} on {dataset}",
        folder="{dataset}-{algorithm}",
        headline=("mse@{eval_steps}", "{:.3f}"),
        figure=(-1, "{:.3g}", " mse"),
        scale="log",
    ),
}
