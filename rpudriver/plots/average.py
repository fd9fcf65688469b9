"""Pictures of a model average: how much each weight moved while the network was trained."""

from pathlib import Path

import numpy as np
from matplotlib.ticker import MaxNLocator

from rpudriver.experiment.datasets import read_dataset
from rpudriver.plots.style import COLOURS, GREY, canvas, save

BINS = 60


def plot_average(dataset: Path, path: Path) -> None:
    """Draw by layer the map and the histogram of the standard deviations, and these against the size of the weight.

    Parameters
    ----------
    dataset : ``average.h5`` of a run.
    """
    data, _ = read_dataset(dataset)
    names = [name.removeprefix("sd/") for name in data if name.startswith("sd/") and name.endswith(".weight")]
    figure, axes = canvas(rows=len(names), columns=3, width=4.4, height=3.4)
    for number, name in enumerate(names):
        image, histogram, against = axes[3 * number : 3 * number + 3]
        mean, sd, error = (data[f"{part}/{name}"].numpy() for part in ("mean", "sd", "sd_error"))
        good = np.isfinite(sd)
        largest = float(np.quantile(sd[good], 0.995)) if good.any() else 1.0
        image.grid(visible=False)
        drawn = image.imshow(np.ma.masked_invalid(sd), aspect="auto", vmin=0, vmax=largest or 1.0, cmap="viridis")
        figure.colorbar(drawn, ax=image, label="sd over the window")
        image.set(title=f"layer {name.removesuffix('.weight')}", xlabel="input", ylabel="output")
        counts, edges = np.histogram(sd[good], min(BINS, 5 + int(good.sum()) // 12))
        histogram.stairs(counts, edges, fill=True, color=COLOURS[0], alpha=0.7)
        histogram.yaxis.set_major_locator(MaxNLocator(integer=True))
        typical = float(np.median(error[good])) if good.any() else 0.0
        histogram.set(xlabel=f"sd over the window (median standard error {typical:.2g})", ylabel="weights")
        against.plot(np.abs(mean[good]), sd[good], ".", color=COLOURS[0], markersize=2, alpha=0.4)
        _running_median(against, np.abs(mean[good]), sd[good])
        against.set(xlabel="size of the mean weight", ylabel="sd over the window")
    save(figure, path)


def _running_median(ax, size, sd) -> None:  # type: ignore[no-untyped-def]
    order = np.argsort(size)
    groups = [group for group in np.array_split(order, 12) if len(group) > 4]
    if groups:
        middle = [np.median(size[group]) for group in groups]
        ax.plot(middle, [np.median(sd[group]) for group in groups], color=GREY, linewidth=2, label="median")
        ax.legend(frameon=False)
