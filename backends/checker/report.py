"""What a run of the conformance suite found."""

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any, Literal, final

Outcome = Literal["passed", "failed", "skipped"]


@final
@dataclass(frozen=True)
class CheckResult:
    """The outcome of one check.

    Attributes
    ----------
    name : the check's name, for example ``"read-orientation"``.
    statement : what the contract says, in one line.
    outcome : ``"passed"``, ``"failed"`` or ``"skipped"``.
    detail : what was measured against what was expected, or why the check was skipped; empty where it passed.
    likely_mistake : on failure, what usually causes it.
    seconds : wall time.
    """

    name: str
    statement: str
    outcome: Outcome
    detail: str
    likely_mistake: str
    seconds: float


@final
@dataclass(frozen=True)
class CheckReport:
    """The outcomes of all checks, in the order in which they ran."""

    results: tuple[CheckResult, ...]

    @property
    def passed(self) -> bool:
        """Whether no check failed and at least one passed; skipped ones say nothing against a backend."""
        return not self.names("failed") and bool(self.names("passed"))

    def names(self, outcome: Outcome) -> list[str]:
        """Return the names of the checks that had an outcome."""
        return [result.name for result in self.results if result.outcome == outcome]

    def as_dict(self) -> dict[str, Any]:
        """Return plain data: ``passed``, ``counts`` and ``checks``, whose keys are the fields of `CheckResult`."""
        return {
            "passed": self.passed,
            "counts": dict(Counter(result.outcome for result in self.results)),
            "checks": [asdict(result) for result in self.results],
        }

    def __str__(self) -> str:
        lines = [format_result(result) for result in self.results]
        counts = Counter(result.outcome for result in self.results)
        lines.append(", ".join(f"{counts[outcome]} {outcome}" for outcome in ("passed", "failed", "skipped")))
        return "\n".join(lines)


def format_result(result: CheckResult) -> str:
    """Return a line of the table, and on failure what was found and what usually causes it."""
    line = f"{result.outcome:8}{result.name:28}{result.seconds:6.2f} s  {result.statement}"
    if result.outcome == "skipped":
        line += f"\n{'':8}skipped: {result.detail}"
    if result.outcome == "failed":
        line += f"\n{'':8}found: {result.detail}\n{'':8}likely mistake: {result.likely_mistake}"
    return line
