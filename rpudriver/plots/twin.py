"""A page about a twin: its devices beside those of the chip, and the judge's verdict."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rpudriver.calibration.twin_judge import Judgement
from rpudriver.calibration.twin_replay import second_sweep
from rpudriver.plots.style import COLOURS, GREY, canvas, save

Floats = npt.NDArray[np.float64]

BINS = 20  # of the weight, for the step
SEEN = 0.1  # share of the devices that a bin needs to be drawn
SIDES = (("chip", COLOURS[0]), ("twin", COLOURS[1]))


def plot_twin(
    data: Mapping[str, Any], twin: Floats, judgement: Judgement | None, shape: tuple[int, int], title: str, path: Path
) -> None:
    """Draw staircases and steps of chip and twin; and, where it was judged, the test and a map of the witness.

    Parameters
    ----------
    data : entries of the characterisation's data set.
    twin : float64 array ``[D, K]``, what `replay` returned.
    shape : rows and columns of the array that was judged.
    """
    figure, axes = canvas(rows=1 if judgement is None else 2, columns=2, width=4.9, height=3.9)
    reads = second_sweep(dict(data))
    values = np.asarray(data["weights/value"], np.float64)[reads]
    chip = values.reshape(len(reads), -1).T
    pulses = np.asarray(data["plan/pulses"])[reads]
    sides = (chip[np.isfinite(chip).all(1)], twin[np.isfinite(twin).all(1)])
    _draw_stairs(axes[0], pulses, sides)
    _draw_steps(axes[1], pulses, sides)
    if judgement is not None:
        _draw_null(axes[2], judgement)
        _draw_map(figure, axes[3], judgement, shape)
    figure.suptitle(title)
    save(figure, path)


def _draw_stairs(ax: Axes, pulses: npt.NDArray[np.int64], sides: tuple[Floats, Floats]) -> None:
    seen = np.cumsum(np.abs(pulses))
    for (name, colour), weights in zip(SIDES, sides, strict=True):
        low, middle, high = np.quantile(weights, [0.16, 0.5, 0.84], axis=0)
        ax.fill_between(seen, low, high, color=colour, alpha=0.22, linewidth=0)
        ax.plot(seen, middle, color=colour, linewidth=1.8, linestyle="-" if name == "chip" else "--", label=name)
    ax.set(title="Up and down: median, 68 % of devices", xlabel="pulses", ylabel="weight (chip units)")
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    ax.legend(frameon=False, loc="lower center")


def _draw_steps(ax: Axes, pulses: npt.NDArray[np.int64], sides: tuple[Floats, Floats]) -> None:
    """Draw the size of a step, up above 0 and down below, against the weight."""
    low, high = np.quantile(sides[0], [0.03, 0.97])
    edges = np.linspace(low, high, BINS + 1)
    for (name, colour), weights in zip(SIDES, sides, strict=True):
        for way in (1, -1):
            bands = _bands(weights, pulses, way, edges)
            centres = (edges[1:] + edges[:-1]) / 2
            ax.fill_between(centres, bands[0], bands[2], color=colour, alpha=0.22, linewidth=0)
            style = "-" if name == "chip" else "--"
            ax.plot(centres, bands[1], style, color=colour, linewidth=1.8, label=name if way > 0 else None)
    ax.axhline(0.0, color=GREY, linewidth=0.8)
    ax.set(title="Step up and down: median, 68 %", xlabel="weight (chip units)", ylabel="step of one pulse")
    ax.margins(y=0.15)
    ax.legend(frameon=False, loc="upper right")


def _bands(weights: Floats, pulses: npt.NDArray[np.int64], way: int, edges: Floats) -> Floats:
    """Return quantiles over devices of the mean step in each bin, ``[3, BINS]``; NaN where few devices are."""
    there = np.sign(pulses[1:]) == way
    steps = (np.diff(weights, axis=1) / np.abs(pulses[1:]))[:, there]
    place = np.digitize(((weights[:, 1:] + weights[:, :-1]) / 2)[:, there], edges) - 1
    bands = np.full((3, BINS), np.nan)
    for n in range(BINS):
        inside = place == n
        seen = inside.any(1)
        if seen.mean() >= SEEN:
            of_device = (steps * inside).sum(1)[seen] / inside.sum(1)[seen]
            bands[:, n] = np.quantile(of_device, [0.16, 0.5, 0.84])
    return bands


def _draw_null(ax: Axes, judgement: Judgement) -> None:
    test = judgement.test
    ax.hist(1e3 * test.null, bins=40, color=GREY, alpha=0.7, label=f"{len(test.null)} permutations")
    ax.axvline(1e3 * test.mmd2, color=COLOURS[1], linewidth=2, label=f"chip against twin, p = {test.p:.3f}")
    ax.set(title="Is it one population?", xlabel="squared discrepancy (0.001)", ylabel="permutations")
    ax.set_ylim(0, 1.3 * ax.get_ylim()[1])
    ax.legend(edgecolor="none", framealpha=0.9, loc="upper center", fontsize="small")


def _draw_map(figure: Figure, ax: Axes, judgement: Judgement, shape: tuple[int, int]) -> None:
    """Draw the witness of each device that was compared; ring the worst."""
    grid = np.full(shape, np.nan)
    rows, columns = judgement.places.T
    grid[rows, columns] = judgement.test.witness
    reach = max(judgement.test.threshold, float(np.abs(judgement.test.witness).max()))
    image = ax.imshow(grid, cmap="RdBu_r", vmin=-reach, vmax=reach, interpolation="nearest")
    rings: dict[str, Any] = {"mfc": "none", "mec": "black", "ms": 9, "clip_on": False}
    ax.plot([w[1] for w in judgement.worst], [w[0] for w in judgement.worst], "o", **rings)
    ax.grid(visible=False)
    ax.set_facecolor("#D9D9D9")  # not compared
    ax.set(title="Witness: red is rarer in the twin, rings: worst", xlabel="column", ylabel="row")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(5, integer=True))
    figure.colorbar(image, ax=ax, label="standard deviations")
