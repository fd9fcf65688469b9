"""Two pages about the devices of an array: what pulses do to them, and what noise does."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rpudriver.calibration.procedure import Data, Procedure
from rpudriver.calibration.sweep import PHASES
from rpudriver.plots.histograms import draw_histogram
from rpudriver.plots.style import COLOURS, GREY, canvas, save

Floats = npt.NDArray[np.float64]

SINGLE = 4  # devices whose staircases are drawn
SEEN = 0.2  # share of devices that a bin needs to be drawn
MAPS = (
    ("dw_min", "step at the symmetry point", "viridis"),
    ("symmetry_point", "symmetry point", "RdBu_r"),
    ("w_max", "upper bound", "viridis"),
    ("w_min", "lower bound", "viridis_r"),
)


def draw_characterisation(procedure: Procedure, folder: Path) -> None:
    """Draw both pages of a fitted `Characterise` into a folder."""
    data, summary = procedure.data_, procedure.summary()
    title = f"{procedure.record_.chip}, array {procedure.record_.array}: {summary['devices']} devices"
    plot_devices(data, title, folder / "characterisation.png")
    plot_noise(data, summary, title, folder / "noise.png")


def plot_devices(data: Data, title: str, path: Path) -> None:
    """Draw staircases, step against weight, maps and histograms."""
    figure, axes = canvas(rows=3, columns=4, width=4.1, height=3.5)
    _draw_staircase(axes[0], data)
    _draw_band(axes[1], data)
    _draw_steps(axes[2], data, relative=False)
    _draw_steps(axes[3], data, relative=True)
    for ax, (name, label, colours) in zip(axes[4:8], MAPS, strict=True):
        _draw_map(figure, ax, data, name, label, colours)
    good = data["device/good"].numpy()
    values = {
        name: data[f"estimate/{name}"].numpy()[good] for name in ("dw_min", "symmetry_point", "w_max", "w_min", "c2c")
    }
    draw_histogram(axes[8], values["dw_min"], "step at the symmetry point (chip units)", positive=True)
    draw_histogram(axes[9], values["symmetry_point"], "symmetry point (chip units)", positive=False)
    draw_histogram(axes[10], values["w_max"], "bounds (chip units)", positive=False, label="upper")
    draw_histogram(axes[10], values["w_min"], "bounds (chip units)", positive=False, label="lower", colour=COLOURS[1])
    draw_histogram(axes[11], values["c2c"], "cycle-to-cycle noise (steps)", positive=False, fit=_bulk(values["c2c"]))
    figure.suptitle(title)
    save(figure, path)


def _bulk(values: npt.NDArray[np.floating[Any]]) -> bool:
    """Return whether a law describes values of which none should be 0; those of devices that do not tell often are."""
    values = values[np.isfinite(values)]
    return len(values) > 0 and bool(np.quantile(values, 0.02) > 0.1 * np.median(values))


def _reads(data: Data, names: tuple[str, ...]) -> npt.NDArray[np.intp]:
    """Return the reads of the last sweep, and of the alternating run that follows it, where they are asked for."""
    phase, cycle = data["plan/phase"].numpy(), data["plan/cycle"].numpy()
    chosen = np.zeros(len(phase), np.bool_)
    for name in names:
        here = phase == PHASES.index(name)
        number = cycle[here].min() if name == "alternate" else cycle[here].max(initial=0)
        chosen |= here & (cycle == number)
    return np.flatnonzero(chosen)


def _pulses(data: Data, reads: npt.NDArray[np.intp]) -> npt.NDArray[np.int64]:
    each = np.abs(data["plan/pulses"].numpy()[reads]) + 2 * data["plan/pairs"].numpy()[reads]
    return np.asarray(np.cumsum(each))


def _typical(data: Data) -> npt.NDArray[np.intp]:
    """Return places in the flat array of devices whose steps are spread over the population."""
    step = data["estimate/dw_min"].numpy().ravel()
    order = np.argsort(np.where(np.isfinite(step), step, np.inf))
    many = max(1, int(np.isfinite(step).sum()))
    return np.asarray(order[(np.linspace(0.1, 0.9, SINGLE) * (many - 1)).astype(int)])


def _flat(data: Data, reads: npt.NDArray[np.intp]) -> Floats:
    values = data["weights/value"].numpy()[reads]
    return np.asarray(values.reshape(len(reads), -1), np.float64)


def _draw_staircase(ax: Axes, data: Data) -> None:
    reads = _reads(data, ("up", "down", "alternate"))
    pulses, weights = _pulses(data, reads), _flat(data, reads)
    n_in = data["weights/value"].shape[2]
    for colour, device in zip(COLOURS, _typical(data), strict=False):
        label = f"({device // n_in}, {device % n_in})"
        ax.plot(pulses, weights[:, device], ".-", color=colour, markersize=2.5, linewidth=0.8, label=label)
    ax.set(title="Single devices: up, down, alternating", xlabel="pulses", ylabel="weight (chip units)")
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.margins(y=0.3)
    ax.legend(frameon=False, fontsize="small", ncols=2, loc="upper right", columnspacing=0.8, handlelength=1)


def _draw_band(ax: Axes, data: Data) -> None:
    reads = _reads(data, ("up", "down", "alternate"))
    pulses, weights = _pulses(data, reads), _flat(data, reads)
    low, first, middle, third, high = np.nanquantile(weights, [0.05, 0.25, 0.5, 0.75, 0.95], axis=1)
    ax.fill_between(pulses, low, high, color=COLOURS[0], alpha=0.15, linewidth=0, label="90 % of devices")
    ax.fill_between(pulses, first, third, color=COLOURS[0], alpha=0.3, linewidth=0, label="half of them")
    ax.plot(pulses, middle, color=COLOURS[0], linewidth=1.5, label="median")
    ax.set(title="All devices", xlabel="pulses", ylabel="weight (chip units)")
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.margins(y=0.25)
    ax.legend(frameon=False, fontsize="small", loc="upper right")


def _draw_steps(ax: Axes, data: Data, relative: bool) -> None:
    """Draw the step up and down against the weight, in chip units or in the device's own steps and bounds."""
    good = data["device/good"].numpy()
    weight = data["curve/weight"].numpy()
    own = data["estimate/dw_min"].numpy()[good] if relative else 1.0
    for colour, name in ((COLOURS[0], "up"), (COLOURS[1], "down")):
        steps = data[f"curve/{name}"].numpy()[:, good] / own
        seen = np.isfinite(steps).mean(1) >= SEEN
        if not seen.any():
            continue
        low, first, middle, third, high = np.nanquantile(steps[seen], [0.05, 0.25, 0.5, 0.75, 0.95], axis=1)
        ax.fill_between(weight[seen], low, high, color=colour, alpha=0.13, linewidth=0)
        ax.fill_between(weight[seen], first, third, color=colour, alpha=0.25, linewidth=0)
        ax.plot(weight[seen], middle, "o-", color=colour, markersize=3, linewidth=1.5, label=name)
    ax.axhline(0.0, color=GREY, linewidth=0.8)
    unit = "the device's own step" if relative else "chip units"
    ax.set(title="Step against weight: median, 50 %, 90 %", xlabel="weight (chip units)", ylabel=f"step ({unit})")
    ax.legend(frameon=False, loc="upper center", ncols=2)


def _draw_map(figure: Figure, ax: Axes, data: Data, name: str, label: str, colours: str) -> None:
    values = data[f"estimate/{name}"].numpy()
    finite = values[np.isfinite(values)]
    low, high = np.quantile(finite, [0.01, 0.99]) if len(finite) else (0.0, 1.0)
    if name == "symmetry_point":
        low, high = -max(abs(low), abs(high)), max(abs(low), abs(high))
    ax.grid(False)
    ax.set_facecolor("#D9D9D9")
    image = ax.imshow(values, cmap=colours, vmin=low, vmax=high, aspect="auto", interpolation="nearest")
    figure.colorbar(image, ax=ax, extend="both")
    _mark(ax, data["device/stuck"].numpy(), "x", COLOURS[1], "stuck")
    _mark(ax, data["device/outlier"].numpy(), "o", "black", "outlier")
    ax.set(title=label[0].upper() + label[1:], xlabel="column", ylabel="row")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(5, integer=True))


def _mark(ax: Axes, mask: npt.NDArray[np.bool_], marker: str, colour: str, label: str) -> None:
    rows, columns = np.nonzero(mask)
    if len(rows):
        style: dict[str, Any] = {"facecolors": "none"} if marker == "o" else {}
        size = max(4.0, 900.0 / max(mask.shape))
        ax.scatter(columns, rows, marker=marker, s=size, linewidths=0.8, label=label, color=None if style else colour,
                   edgecolors=colour if style else None, **style)  # fmt: skip
        ax.legend(loc="upper right", fontsize="x-small", framealpha=0.8, edgecolor="none")


def plot_noise(data: Data, summary: dict[str, Any], title: str, path: Path) -> None:
    """Draw alternating pulses, the noise and the offset of outputs, write noise, states and drift."""
    figure, axes = canvas(rows=2, columns=3, width=4.6, height=3.5)
    _draw_alternating(axes[0], data)
    rows = np.arange(data["outputs/noise"].shape[1])
    noise = np.sqrt(np.nanmean(np.square(data["outputs/noise"].double().numpy()), 0))
    floor = summary["noise_floor"]
    axes[1].plot(rows, noise, ".", color=COLOURS[0], label="one output, rounding included")
    axes[1].axhline(floor["rounding"], color=COLOURS[1], label="rounding of the converter")
    axes[1].set(title="Noise floor", xlabel="row", ylabel="standard deviation (chip units)")
    axes[1].set_ylim(0, 1.35 * max(float(np.nanmax(noise)), floor["rounding"], 1e-12))
    axes[1].legend(frameon=False, fontsize="small", loc="upper right")
    offset = np.nanmean(data["outputs/offset"].double().numpy(), 0)
    axes[2].errorbar(rows, offset, floor["offset_error"], fmt=".", color=COLOURS[0], linewidth=0.8)
    axes[2].axhline(0.0, color=GREY, linewidth=0.8)
    axes[2].set(title="Output offset, one standard error", xlabel="row", ylabel="offset (chip units)")
    good = data["device/good"].numpy()
    draw_histogram(axes[3], data["estimate/n_states"].numpy()[good], "number of states", positive=True)
    draw_histogram(
        axes[4], data["estimate/write_noise"].numpy()[good], "write noise (chip units)", positive=False, fit=False
    )
    _draw_drift(axes[5], data)
    figure.suptitle(title)
    save(figure, path)


def _draw_alternating(ax: Axes, data: Data) -> None:
    phase = data["plan/phase"].numpy()
    reads = np.flatnonzero(np.isin(phase, [PHASES.index("alternate"), PHASES.index("single")]))
    weights = _flat(data, reads)
    n_in = data["weights/value"].shape[2]
    point = data["estimate/symmetry_point"].numpy().ravel()
    for colour, device in zip(COLOURS, _typical(data), strict=False):
        ax.plot(
            weights[:, device],
            ".-",
            color=colour,
            markersize=3,
            linewidth=0.7,
            label=f"({device // n_in}, {device % n_in})",
        )
        ax.axhline(point[device], color=colour, linewidth=0.8, linestyle="--")
    ax.set(
        title="Alternating from either end, then single pulses;\ndashed: symmetry point",
        xlabel="read",
        ylabel="weight (chip units)",
    )
    ax.margins(y=0.3)
    ax.legend(frameon=False, fontsize="small", ncols=2, loc="upper right", columnspacing=0.8, handlelength=1)


def _draw_drift(ax: Axes, data: Data) -> None:
    seconds = data["plan/wait"].max().item()
    for name, label, colour in (
        ("drift", "at the symmetry point", COLOURS[0]),
        ("drift_high", "at the upper end", COLOURS[1]),
    ):
        if f"estimate/{name}" in data:
            draw_histogram(
                ax,
                data[f"estimate/{name}"].numpy().ravel(),
                "drift (chip units / s)",
                positive=False,
                label=label,
                colour=colour,
            )
    if not seconds:
        ax.text(0.5, 0.5, "no waiting was asked for", transform=ax.transAxes, ha="center", color=GREY)
    ax.set_title(f"Change in {seconds:g} s")
