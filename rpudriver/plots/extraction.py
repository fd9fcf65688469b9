"""Pictures of a weight extraction: what was found, how well, and whether the residuals look like noise."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from rpudriver.calibration.extraction import Extract
from rpudriver.plots.style import COLOURS, GREY, canvas, save

BINS = 80
Values = npt.NDArray[Any]


def plot_extraction(found: Extract, path: Path) -> None:
    """Draw histogram and map of the weights, standard error against reads, and residuals, into one picture."""
    figure, (histogram, image, error, residual) = canvas(rows=2, columns=2, width=5.0, height=3.8)
    live = torch.isfinite(found.error_)
    weights = found.weights_[live]
    if len(weights):
        _histogram(histogram, weights.numpy())
        _map(image, found.weights_.numpy())
    _errors(error, found)
    _residuals(residual, found)
    rows, columns = found.weights_.shape
    figure.suptitle(f"{rows} x {columns} weights from {found.reads_} reads")
    save(figure, path)


def _histogram(ax: Axes, weights: Values) -> None:
    low, high = float(weights.min()), float(weights.max())
    margin = 0.5 if low == high else 0.0
    counts, edges = np.histogram(weights, min(BINS, 4 + len(weights) // 4), range=(low - margin, high + margin))
    ax.stairs(counts, edges, fill=True, color=COLOURS[0], alpha=0.7)
    ax.set(xlabel="effective weight (chip units)", ylabel="weights")


def _map(ax: Axes, weights: Values) -> None:
    ax.grid(visible=False)
    largest = float(np.nanquantile(np.abs(weights), 0.99)) or 1.0
    drawn = ax.imshow(
        np.ma.masked_invalid(weights), cmap="RdBu_r", vmin=-largest, vmax=largest, aspect="auto",
        interpolation="nearest",
    )  # fmt: skip
    ax.figure.colorbar(drawn, ax=ax, label="effective weight (chip units)")
    ax.set(xlabel="column", ylabel="row")


def _errors(ax: Axes, found: Extract) -> None:
    reads, error = found.data_["looks/reads"].numpy(), found.data_["looks/error"].numpy()
    good = np.isfinite(error) & (error > 0)
    if not good.any():
        return
    last = reads[good][-1], error[good][-1]
    span = np.geomspace(min(reads[good][0] / 2, last[0] / 8), last[0] * 2, 50)
    ax.plot(span, last[1] * np.sqrt(last[0] / span), color=GREY, linewidth=1, label="1 / sqrt(reads)")
    ax.plot(reads[good], error[good], "o", color=COLOURS[0], markersize=5, label="measured")
    if found.reads is None:
        ax.axhline(found.target, color=COLOURS[1], linestyle="--", linewidth=1, label="target")
    ax.set(xscale="log", yscale="log", xlabel="reads", ylabel="standard error of a weight")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())
    ax.legend(frameon=False)


def _residuals(ax: Axes, found: Extract) -> None:
    """Draw residuals of the last portion in standard deviations, beside the normal curve."""
    values = found.residuals().numpy()
    values = values[np.isfinite(values)]
    ax.set(xlabel="residual (standard deviations of a read)", ylabel="density")
    if not len(values):
        return
    bins = np.linspace(-5, 5, 81 if len(values) > 20_000 else 33)
    counts, edges = np.histogram(values.clip(-5, 5), bins)
    single = 1 / (len(values) * (bins[1] - bins[0]))  # the density that one residual makes
    ax.stairs(counts * single, edges, fill=True, color=COLOURS[2], alpha=0.6, label="measured")
    z = np.linspace(-5, 5, 200)
    ax.plot(z, np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi), color=GREY, linewidth=1.2, label="normal")
    ax.set(yscale="log", ylim=(single / 2, 1))
    ax.legend(frameon=False)
