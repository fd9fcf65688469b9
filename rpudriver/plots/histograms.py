"""Histograms of devices with the law that fits them, normal or log-normal."""

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from rpudriver.plots.style import COLOURS

BINS = 30
SHOWN = (0.005, 0.995)  # quantiles between which bins are laid; what lies outside is counted in the text


def draw_histogram(
    ax: Axes,
    values: npt.NDArray[np.floating],
    xlabel: str,
    *,
    positive: bool,
    label: str = "",
    colour: str = COLOURS[0],
    fit: bool = True,
) -> None:
    """Draw a histogram, and over it the likelier of a normal and (for positive values) a log-normal law."""
    values = np.asarray(values[np.isfinite(values)], np.float64)
    ax.set(xlabel=xlabel, ylabel="devices")
    if len(values) < 2 or np.ptp(values) == 0:
        text = f"all at {values[0]:.4g}" if len(values) else "no estimate"
        ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center")
        return
    low, high = np.quantile(values, SHOWN)
    margin = 0.15 * (high - low) + 1e-12
    counts, edges = np.histogram(
        values, BINS, range=(max(0.0, low - margin) if positive else low - margin, high + margin)
    )
    inside = values[(values >= edges[0]) & (values <= edges[-1])]
    name = f"{label}: " if label else ""
    text = f"{name}median {np.median(values):.3g}"
    if fit and len(inside) > 8:
        law, curve = _law(inside, np.linspace(edges[0], edges[-1], 200), positive)
        ax.plot(
            np.linspace(edges[0], edges[-1], 200),
            curve * len(inside) * (edges[1] - edges[0]),
            color=colour,
            linewidth=1.5,
        )
        text = f"{name}{law}"
    ax.stairs(counts, edges, fill=True, color=colour, alpha=0.4, label=text)
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.set_ylim(0, max(1.4 * counts.max(), ax.get_ylim()[1]))
    ax.legend(frameon=False, fontsize="small", loc="upper left", handlelength=1)


def _law(
    values: npt.NDArray[np.float64], x: npt.NDArray[np.float64], positive: bool
) -> tuple[str, npt.NDArray[np.float64]]:
    """Return the description of the likelier law, and its density."""
    mean, sd = values.mean(), values.std()
    normal = f"normal {mean:.3g} ± {sd:.2g}", _density(x, mean, sd)
    if not positive or values.min() <= 0:
        return normal
    logs = np.log(values)
    middle, spread = logs.mean(), logs.std()
    # twice the difference of the log-likelihoods, up to what both share
    if len(values) * (np.log(sd) - np.log(spread)) <= logs.sum():
        return normal
    with np.errstate(divide="ignore", invalid="ignore"):
        density = np.where(x > 0, _density(np.log(np.maximum(x, 1e-300)), middle, spread) / np.maximum(x, 1e-300), 0.0)
    return f"log-normal, median {np.exp(middle):.3g}, s.d. of log {spread:.2f}", density


def _density(x: npt.NDArray[np.float64], mean: float, sd: float) -> npt.NDArray[np.float64]:
    return np.asarray(np.exp(-0.5 * np.square((x - mean) / sd)) / (sd * np.sqrt(2 * np.pi)))
