"""What `train` and `demo` share: a run with its pictures, and a progress bar."""

import contextlib
import sys
import time
from pathlib import Path
from typing import Any

from tqdm import tqdm

from rpudriver.errors import UnsupportedError
from rpudriver.experiment.config import Config
from rpudriver.experiment.training import Progress, Report, Stop, train
from rpudriver.plots.average import plot_average
from rpudriver.plots.curves import plot_learning_curve
from rpudriver.plots.weights import plot_weights, trained_weights

INTERVAL = 0.1  # seconds between two states of a bar


def train_and_draw(
    config: Config, out: Path, *, resume: bool, data_folder: Path | None, report: Report, stop: Stop
) -> dict[str, Any]:
    """Train, draw ``learning_curve.png`` and ``weights.png`` into `out`, and return the result."""
    run = train(config, out, resume=resume, data_folder=data_folder, report=report, stop=stop)
    plot_learning_curve(run.result, out / "learning_curve.png")
    if "average" in run.result:
        plot_average(out / "average.h5", out / "average.png")
    with contextlib.suppress(UnsupportedError):  # a real chip does not know its weights: there is nothing to draw
        plot_weights(trained_weights(run.model, run.chip), out / "weights.png")
    return run.result


def progress_bar(quiet: bool, **options: Any) -> "tqdm[Any]":
    """Return a bar of mini-batches on stderr; it speaks rarely where nobody watches a terminal."""
    interval = INTERVAL if sys.stderr.isatty() else 10.0
    return tqdm(unit="batch", disable=quiet, mininterval=interval, dynamic_ncols=True, **options)


class TrainingBar:
    """Shows loss, accuracy and time left of one run; call it after each mini-batch."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._bar: tqdm[Any] | None = None
        self._latest: Progress | None = None
        self._shown = 0.0  # when, in seconds of the monotonic clock

    def __call__(self, progress: Progress) -> None:
        if self._bar is None:  # made late, so that a resumed run's rate counts only what it does itself
            self._bar = progress_bar(self._quiet, total=progress.total, initial=progress.done - 1)
        self._latest = progress
        if time.monotonic() - self._shown >= INTERVAL:  # a mini-batch may be shorter than putting this into words
            self._show(self._bar, progress)

    def _show(self, bar: "tqdm[Any]", progress: Progress) -> None:
        bar.set_description(f"epoch {progress.epoch}/{progress.epochs}", refresh=False)
        bar.set_postfix(refresh=False, **describe(progress))
        bar.update(progress.done - bar.n)
        self._shown = time.monotonic()

    def close(self) -> None:
        """Leave the last state on the screen."""
        if self._bar is not None and self._latest is not None:
            self._show(self._bar, self._latest)
            self._bar.close()


def describe(progress: Progress) -> dict[str, str]:
    """Return loss and test accuracy as short texts."""
    accuracy = progress.test_accuracy
    return {"loss": f"{progress.loss:.3f}"} | ({} if accuracy is None else {"test": f"{100 * accuracy:.1f}%"})
