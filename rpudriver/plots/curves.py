"""Learning curves of one run, and several runs side by side."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.ticker import MaxNLocator

from rpudriver.plots.style import COLOURS, canvas, save


def plot_learning_curve(result: Mapping[str, Any], path: Path) -> None:
    """Draw loss and accuracy by epoch.

    Parameters
    ----------
    result : as in ``result.json``.
    """
    figure, (loss, accuracy) = canvas(columns=2)
    curve = result["curve"]
    epochs = [record["epoch"] for record in curve]
    marker = "o" if len(curve) < 10 else ""
    for colour, part in zip(COLOURS, ("train", "test"), strict=False):
        style: dict[str, Any] = {"color": colour, "label": part, "marker": marker, "markersize": 4}
        loss.plot(epochs, [record[f"{part}_loss"] for record in curve], **style)
        accuracy.plot(epochs, [100 * record[f"{part}_accuracy"] for record in curve], **style)
    loss.set(xlabel="epoch", ylabel="cross-entropy (nats)", ylim=(0, None))
    accuracy.set(xlabel="epoch", ylabel="accuracy (%)")
    accuracy.legend(frameon=False, loc="lower right")
    for ax in (loss, accuracy):
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.suptitle(f"{result['algorithm']}: {100 * result['test_accuracy']:.1f} % test accuracy")
    save(figure, path)


def plot_comparison(results: Mapping[str, Mapping[str, Any]], path: Path, title: str) -> None:
    """Draw the test accuracy of several runs: by epoch on the left, the last one on the right.

    Parameters
    ----------
    results : by label, each as in ``result.json``.
    """
    figure, (curves, bars) = canvas(columns=2, width=5.2, height=4.0)
    last = [100 * result["test_accuracy"] for result in results.values()]
    for colour, (label, result) in zip(_colours(len(results)), results.items(), strict=True):
        epochs = [record["epoch"] for record in result["curve"]]
        accuracy = [100 * record["test_accuracy"] for record in result["curve"]]
        curves.plot(epochs, accuracy, color=colour, label=label, linewidth=1.6)
    curves.set(xlabel="epoch", ylabel="test accuracy (%)", ylim=(0, 101))
    curves.xaxis.set_major_locator(MaxNLocator(integer=True))
    curves.legend(edgecolor="none", framealpha=0.8, loc="best")
    drawn = bars.barh(list(results), last, color=_colours(len(results)), height=0.62)
    bars.bar_label(drawn, [f"{value:.1f} %" for value in last], padding=4)
    bars.invert_yaxis()
    bars.set(xlabel="test accuracy after the last epoch (%)", xlim=(0, 118), xticks=range(0, 101, 20))
    bars.grid(axis="y", visible=False)
    figure.suptitle(title)
    save(figure, path)


def _colours(count: int) -> Sequence[str]:
    return [COLOURS[number % len(COLOURS)] for number in range(count)]
