"""The demo's plan: which recipes run side by side, and which of them try several learning rates."""

from typing import Annotated, Any, NamedTuple

from pydantic import Field

from rpudriver.config.model import StrictModel, parse, read_toml
from rpudriver.experiment.config import RECIPES, Config, Positive, load_config


class PlannedRun(StrictModel):
    """One line of the comparison."""

    label: str
    recipe: str
    rates: tuple[Positive, ...] = ()  # values of training.lr to try; none: the recipe's own


class Plan(StrictModel):
    """The demo, as ``recipes/demo.toml`` holds it."""

    runs: Annotated[tuple[PlannedRun, ...], Field(min_length=1)]
    quick: tuple[str, ...] = ()  # overrides of the quick demo


class Job(NamedTuple):
    """One training run of the demo."""

    label: str
    folder: str
    config: Config


def plan_demo(quick: bool) -> list[Job]:
    """Return the runs of the demo, each line's rates as runs of their own."""
    source = RECIPES / "demo.toml"
    plan = parse(Plan, read_toml(source), str(source))
    overrides = list(plan.quick) if quick else []
    jobs = []
    for run in plan.runs:
        for rate in run.rates or (None,):
            folder = run.recipe if rate is None else f"{run.recipe}-lr-{rate:g}"
            rates = [] if rate is None else [f"training.lr={rate!r}"]
            jobs.append(Job(run.label, folder, load_config(run.recipe, overrides + rates)))
    return jobs


def best_of_each(jobs: list[Job], results: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return by label the result with the highest test accuracy, ``lr`` and ``tried_lr`` added."""
    best: dict[str, dict[str, Any]] = {}
    tried: dict[str, list[float]] = {}
    for job, result in zip(jobs, results, strict=True):
        tried.setdefault(job.label, []).append(job.config.training.lr)
        if job.label not in best or result["test_accuracy"] > best[job.label]["test_accuracy"]:
            best[job.label] = {**result, "lr": job.config.training.lr}
    return {label: {**result, "tried_lr": tried[label]} for label, result in best.items()}
