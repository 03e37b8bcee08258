"""What a check found, in words."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Parameters
    ----------
    kind : str
        "value", "shape", "dtype", "none", "nan", "mutates input", "random", "ignores upstream",
        "accumulates", "not linear", "kink", "raises" or "identity".
    gradient : str
        Which gradient, such as "dx"; empty where it concerns the whole.
    message : str
        What is wrong, in words.
    """

    kind: str
    gradient: str
    message: str


@dataclass
class Report:
    """The outcome of a check.

    Parameters
    ----------
    name : str
        What was checked.
    method : str
        "complex step" or "differences".
    errors : dict
        Largest error of each gradient, relative to its largest entry.
    shapes : dict
        Of each gradient.
    findings : list of Finding
        Empty if all is well.
    notes : list of str
        What is worth knowing: a kink stepped around, entries left undecided.
    """

    name: str
    method: str = "complex step"
    errors: dict[str, float] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings

    def add(self, kind: str, gradient: str, message: str) -> None:
        """Note a finding.

        Parameters
        ----------
        kind : str
            As of a `Finding`.
        gradient : str
            Which one; empty where it concerns the whole.
        message : str
            What is wrong.
        """
        self.findings.append(Finding(kind, gradient, message))

    def __str__(self) -> str:
        if self.passed:
            rows = [f"{name} {error:.1e}" for name, error in self.errors.items()]
            head = f"{self.name}: gradients are right by the {self.method} ({', '.join(rows)})"
        else:
            head = f"{self.name}: {len(self.findings)} wrong, by the {self.method}"
        lines = [head]
        for finding in self.findings:
            first, *rest = finding.message.split("\n")
            lines.append(f"  {finding.gradient or 'all'}: {first}")
            lines += [f"    {line}" for line in rest]
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])


class Fault(Exception):
    """What keeps a backward pass from giving any gradient, in a sentence for the report."""


class GradientError(AssertionError):
    """A gradient is wrong; `report` says which and how.

    Parameters
    ----------
    report : Report
        Its text is the message.
    """

    def __init__(self, report: Report) -> None:
        super().__init__(str(report))
        self.report = report
