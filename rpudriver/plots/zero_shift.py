"""A page about a zero shift: symmetry points before and after, how the estimates converged, what it took."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rpudriver.calibration.procedure import Data, Procedure
from rpudriver.calibration.zero_shift import ZeroShift
from rpudriver.calibration.zero_shift_alternating import averaged
from rpudriver.plots.style import COLOURS, GREY, canvas, save

SHARE = 0.25  # of the pulses over which a trace of alternating pulses is averaged


def draw_zero_shift(procedure: Procedure, folder: Path) -> None:
    """Draw the page of a fitted `ZeroShift` into a folder."""
    assert isinstance(procedure, ZeroShift)
    record = procedure.record_
    title = f"{record.procedure}: {record.chip}, array {record.array} of {record.rows} x {record.columns}"
    plot_zero_shift(procedure, title, folder / "zero-shift.png")


def plot_zero_shift(done: ZeroShift, title: str, path: Path) -> None:
    """Draw maps of the points before and after, their histograms, convergence, and pulses."""
    figure, axes = canvas(rows=2, columns=3, width=4.6, height=3.7)
    live = done.live_.numpy()
    before, after = done.points_.numpy(), done.residual_.numpy()
    known = [values[np.isfinite(values)] for values in (before, after)]
    scale = max([float(np.quantile(np.abs(values), 0.98)) for values in known if len(values)] or [1.0]) or 1.0
    _draw_map(figure, axes[0], before, live, scale, "Symmetry points before")
    _draw_map(figure, axes[1], after, live, scale, "After, as verified")
    _draw_histograms(axes[2], before[live], after[live], scale)
    _draw_convergence(axes[3], done)
    _draw_errors(axes[4], done, live)
    _draw_pulses(axes[5], done, live)
    figure.suptitle(title)
    save(figure, path)


def _draw_map(
    figure: Figure, ax: Axes, values: npt.NDArray[np.float32], live: npt.NDArray[np.bool_], scale: float, title: str
) -> None:
    ax.grid(False)
    ax.set_facecolor("#D9D9D9")
    ax.set(title=title, xlabel="column", ylabel="row")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(5, integer=True))
    shown = np.where(live, values, np.nan)
    image = ax.imshow(shown, cmap="RdBu_r", vmin=-scale, vmax=scale, aspect="auto", interpolation="nearest")
    figure.colorbar(image, ax=ax, extend="both", label="reads as (chip units)")
    if not np.isfinite(shown).any():
        ax.text(0.5, 0.5, "not measured", transform=ax.transAxes, ha="center")


def _draw_histograms(ax: Axes, before: npt.NDArray[np.float32], after: npt.NDArray[np.float32], scale: float) -> None:
    edges = np.linspace(-1.3 * scale, 1.3 * scale, 61)
    for colour, name, values in ((COLOURS[1], "before", before), (COLOURS[0], "after", after)):
        values = values[np.isfinite(values)]
        if len(values):
            label = f"{name}: sd {values.std():.3g}, 95 % within {np.quantile(np.abs(values), 0.95):.3g}"
            ax.hist(values, edges.tolist(), color=colour, alpha=0.55, label=label)
    ax.set(title="Symmetry points", xlabel="reads as (chip units)", ylabel="devices")
    ax.set_ylim(0, 1.3 * max(ax.get_ylim()[1], 1))
    ax.legend(frameon=False, fontsize="small", loc="upper right")


def _draw_convergence(ax: Axes, done: ZeroShift) -> None:
    """Draw how far the estimates still are from the last one, and what error the method states."""
    pulses, estimates, errors = trace(done.data_)
    ax.set(title="Convergence", xlabel="pulses per device (mean)", ylabel="chip units")
    live = done.live_
    if len(pulses) < 3:
        ax.text(0.5, 0.5, "no reads on the way", transform=ax.transAxes, ha="center")
        return
    away = (estimates[:-1] - estimates[-1]).abs()[:, live]
    lines = [("-", "from the last estimate", pulses[:-1], away)]
    if errors is not None:
        lines.append(("--", "stated standard error", pulses, errors[:, live]))
    for style, name, at, values in lines:
        for colour, q, label in ((COLOURS[0], 0.5, "median"), (COLOURS[1], 0.95, "95th percentile")):
            ax.plot(at, np.nanquantile(values, q, axis=1), style, color=colour, label=f"{label}, {name}")
    ax.set_yscale("log")
    ax.legend(frameon=False, fontsize="small")


def trace(data: Data) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Return mean pulses ``[K]``, the estimates at that time ``[K, n_out, n_in]``, and their standard errors."""
    if "search/points" in data:
        each = data["search/counts"].abs().double().mean((1, 2)).cumsum(0)
        return torch.cat([torch.zeros(1).double(), each]), data["search/points"], data["search/point_errors"]
    pulses, reads = data["alternate/pulses"], data["alternate/reads"]
    if not len(pulses):
        return pulses.double(), reads, None
    means = [averaged(pulses[: k + 1], reads[: k + 1], SHARE) for k in range(len(pulses))]
    return pulses.double(), torch.stack(means), None


def _draw_errors(ax: Axes, done: ZeroShift, live: npt.NDArray[np.bool_]) -> None:
    """Draw the sizes of the verified residuals against what their own noise alone would give."""
    size, error = done.residual_.abs().numpy()[live], done.residual_error_.numpy()[live]
    ax.set(title="Verification", xlabel="size of the residual (chip units)", ylabel="share of devices below")
    if not np.isfinite(size).any():
        ax.text(0.5, 0.5, "not verified", transform=ax.transAxes, ha="center")
        return
    share = np.linspace(0, 1, len(size))
    ax.plot(np.sort(size), share, color=COLOURS[0], label="as measured")
    noise = np.abs(np.random.default_rng(0).standard_normal(len(error)) * error)
    ax.plot(np.sort(noise), share, "--", color=GREY, label="noise of this measurement alone")
    ax.set_xlim(0, 1.2 * float(np.quantile(size, 0.98)))
    ax.legend(frameon=False, fontsize="small", loc="lower right")


def _draw_pulses(ax: Axes, done: ZeroShift, live: npt.NDArray[np.bool_]) -> None:
    pulses = done.pulses_.numpy()[live]
    ax.set(title="What it took", xlabel="pulses of a device, without verification", ylabel="devices")
    if len(pulses):
        high = max(float(np.quantile(pulses, 0.99)) * 1.1, 10.0)
        ax.hist(pulses, np.linspace(0, high, 41).tolist(), color=COLOURS[0], alpha=0.6)
        ax.axvline(float(pulses.mean()), color=COLOURS[1], label=f"mean {pulses.mean():.0f}")
        ax.legend(frameon=False, fontsize="small")
