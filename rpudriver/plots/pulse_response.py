"""The pulse response of a device, its spread and its symmetry point, measured with pulses on a simulated chip."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from rpudriver.backends.base import CrossbarBackend
from rpudriver.backends.oracle import oracle
from rpudriver.plots.style import COLOURS, GREY, canvas, save
from rpudriver.trains import counted_pulses, single_pulses
from rpudriver.types import Array, Port

Floats = npt.NDArray[np.float64]

POINTS = 75  # recorded points of a staircase
LEG_RANGES = 1.5  # pulses of one leg, in n_states: enough for soft bounds to come near their end
PAIRS_RANGES = 3.0  # alternating pairs, in n_states: brings a slow device (30 % of dw_min) within 3 % of the range
AVERAGED_PAIRS = 8  # the last pairs, over which the resting point is averaged
DRAWN = 12  # single devices shown
BINS = 20  # of the weight, for the step


@dataclass(frozen=True, eq=False)
class PulseResponse:
    """What was measured on N devices; weights in chip units.

    Attributes
    ----------
    n_states, dw_min : of the nominal device.
    pulses : int array ``[P]``, net pulses at each point of a leg.
    up, down : float arrays ``[P, N]``, read weights while pulsed up, then down.
    hidden_up, hidden_down : the same of the hidden states, without write noise.
    resting : float array ``[N]``, where alternating pulses leave a device; the first half started high, the second low.
    """

    n_states: float
    dw_min: float
    pulses: npt.NDArray[np.int64]
    up: Floats
    down: Floats
    hidden_up: Floats
    hidden_down: Floats
    resting: Floats

    def summary(self) -> dict[str, Any]:
        """Return documented plain numbers, for JSON: means and spreads by pulse, and the symmetry point's quantiles."""
        half = len(self.resting) // 2
        high, low = self.resting[:half], self.resting[half:]
        quantiles = dict(zip(("q05", "median", "q95"), np.quantile(self.resting, [0.05, 0.5, 0.95]), strict=True))
        return {
            "devices": len(self.resting),
            "n_states": self.n_states,
            "dw_min": self.dw_min,
            "pulses": self.pulses.tolist(),
            "up": {"mean": self.up.mean(1).tolist(), "sd": self.up.std(1).tolist()},
            "down": {"mean": self.down.mean(1).tolist(), "sd": self.down.std(1).tolist()},
            "resting_point": {key: float(value) for key, value in quantiles.items()},
            "resting_point_started_high": float(np.median(high)),
            "resting_point_started_low": float(np.median(low)),
            "has_symmetry_point": self.has_symmetry_point(),
        }

    def has_symmetry_point(self) -> bool:
        """Return whether devices forget where they started, to a quarter of the distance they were apart."""
        half = len(self.resting) // 2
        apart = np.median(self.up[-1]) - np.median(self.down[-1])
        return bool(abs(np.median(self.resting[:half]) - np.median(self.resting[half:])) < apart / 4)


def measure_response(chip: CrossbarBackend, devices: int = 400) -> PulseResponse:
    """Drive single devices up and down their range, then alternate up and down pulses.

    Parameters
    ----------
    chip : a simulated chip, armed, with room for one column of `devices` rows.

    Raises
    ------
    UnsupportedError
        If the chip does not know its true weights.
    """
    nominal = chip.capabilities.device
    array = chip.allocate("pulse-response", devices, 1)
    leg = max(10, math.ceil(LEG_RANGES * nominal.n_states))
    chunk = min(math.ceil(leg / POINTS), chip.capabilities.longest_bl)
    points = math.ceil(leg / chunk)
    _staircase(chip, array, -chunk, points)  # down to the lower end, not shown
    up, hidden_up = _staircase(chip, array, chunk, points)
    down, hidden_down = _staircase(chip, array, -chunk, points)
    raised = torch.zeros(devices, 1, dtype=torch.int64)
    raised[: devices // 2] = chunk
    chip.apply_pulses(array, counted_pulses(raised), repeat=points)
    resting = _alternate(chip, array, math.ceil(PAIRS_RANGES * nominal.n_states))
    pulses = chunk * np.arange(points + 1)
    return PulseResponse(nominal.n_states, nominal.dw_min, pulses, up, down, hidden_up, hidden_down, resting)


def _staircase(chip: CrossbarBackend, array: Array, step: int, points: int) -> tuple[Floats, Floats]:
    """Apply `points` groups of `step` pulses (negative: down); return read and hidden weights ``[points + 1, N]``."""
    view = oracle(chip)
    trains = counted_pulses(torch.full(array.shape, step))
    read, hidden = [view.true_weights(array)], [view.true_state(array, Port.DEVICE)]
    for _ in range(points):
        chip.apply_pulses(array, trains)
        read.append(view.true_weights(array))
        hidden.append(view.true_state(array, Port.DEVICE))
    return _stack(read), _stack(hidden)


def _alternate(chip: CrossbarBackend, array: Array, pairs: int) -> Floats:
    """Apply pairs of an up and a down pulse; return the mean hidden weights ``[N]`` over the last of them."""
    signs = torch.ones(2, array.n_out) * torch.tensor([[1.0], [-1.0]])
    trains = single_pulses(torch.zeros(2, dtype=torch.int64), signs, 1)
    chip.apply_pulses(array, trains, repeat=pairs)
    states = []
    for _ in range(AVERAGED_PAIRS):
        for half in (slice(0, 1), slice(1, 2)):
            chip.apply_pulses(array, trains[half])
            states.append(oracle(chip).true_state(array, Port.DEVICE))
    return np.asarray(_stack(states).mean(0))


def _stack(states: list[torch.Tensor]) -> Floats:
    return torch.stack(states)[:, :, 0].cpu().numpy().astype(np.float64)


def plot_response(response: PulseResponse, title: str, path: Path) -> None:
    """Draw the staircases, the step against the weight, and where alternating pulses leave the devices."""
    figure, (stairs, steps, rest) = canvas(columns=3, width=4.4, height=3.9)
    _draw_stairs(stairs, response)
    _draw_steps(steps, response)
    _draw_resting(rest, response)
    states = f"{response.n_states:.0f}" if response.n_states >= 10 else f"{response.n_states:.1f}"
    figure.suptitle(f"{title}: {states} states, {len(response.resting)} devices")
    save(figure, path)


def _draw_stairs(ax: Axes, response: PulseResponse) -> None:
    last = response.pulses[-1]
    for colour, first, weights, name in (
        (COLOURS[0], 0, response.up, "up"),
        (COLOURS[1], last, response.down, "down"),
    ):
        mean, spread = weights.mean(1), weights.std(1)
        pulses = first + response.pulses
        ax.plot(pulses, weights[:, :DRAWN], color=GREY, linewidth=0.5, alpha=0.6)
        ax.fill_between(pulses, mean - spread, mean + spread, color=colour, alpha=0.25, linewidth=0)
        ax.plot(pulses, mean, color=colour, linewidth=2, label=f"{name}: mean and one s.d.")
    ax.set(title="Pulse response", xlabel="pulses", ylabel="weight (chip units)")
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    ax.legend(edgecolor="none", framealpha=0.8, loc="lower center", fontsize="small")


def _draw_steps(ax: Axes, response: PulseResponse) -> None:
    low, high = np.quantile(response.hidden_up, [0.02, 0.98])
    edges = np.linspace(low, high, BINS + 1)
    for colour, weights, name in (
        (COLOURS[0], response.hidden_up, "up"),
        (COLOURS[1], response.hidden_down, "down"),
    ):
        pulses = int(response.pulses[1])
        mean = _mean_steps(weights, edges, pulses) / pulses / response.dw_min
        ax.plot((edges[1:] + edges[:-1]) / 2, mean, color=colour, linewidth=2, marker="o", markersize=3, label=name)
    ax.axhline(1.0, color=GREY, linewidth=0.8, linestyle="--")
    ax.set(title="Mean step of devices off their bounds", xlabel="weight (chip units)", ylabel="step (dw_min)")
    ax.set_ylim(0, 1.2 * ax.get_ylim()[1])  # room for the legend
    ax.legend(frameon=False, loc="upper center", ncols=2)


def _mean_steps(weights: Floats, edges: Floats, pulses: int) -> Floats:
    """Return the mean size of a step of `pulses` pulses in each bin of the weight: of each device, then over devices.

    A slow device stays longer in a bin than a fast one; so it counts once all the same. One that does not move is at
    its bound, or dead, and does not count. Of a step of several pulses, neither does the one that the bound cut short;
    of single pulses it does, since without it only slow devices would be left.
    """
    size = np.abs(np.diff(weights, axis=0))
    if pulses > 1:
        size[:-1][size[1:] == 0] = 0
    where = np.digitize((weights[1:] + weights[:-1]) / 2, edges) - 1
    mean = np.full(len(edges) - 1, np.nan)
    for number in range(len(mean)):
        chosen = (where == number) & (size > 0)
        counts = chosen.sum(0)
        if counts.any():
            mean[number] = ((size * chosen).sum(0)[counts > 0] / counts[counts > 0]).mean()
    return mean


def _draw_resting(ax: Axes, response: PulseResponse) -> None:
    half = len(response.resting) // 2
    edges = np.linspace(response.resting.min() - response.dw_min, response.resting.max() + response.dw_min, 31)
    for colour, part, name in (
        (COLOURS[0], response.resting[:half], "started high"),
        (COLOURS[1], response.resting[half:], "started low"),
    ):
        counts, _ = np.histogram(part, edges)
        ax.stairs(counts, edges, fill=True, color=colour, alpha=0.5, label=name)
    ax.set(xlabel="weight after alternating pulses (chip units)", ylabel="devices")
    ax.margins(y=0.3)  # room for the text
    ax.set_ylim(0, None)
    ax.xaxis.set_major_locator(MaxNLocator(6))
    ax.legend(frameon=False, loc="upper right", fontsize="small")
    if response.has_symmetry_point():
        low, middle, high = np.quantile(response.resting, [0.05, 0.5, 0.95])
        text = f"median {middle:+.3f}\n90 %: {low:+.3f} .. {high:+.3f}"
    else:
        text = "none: devices stay\nwhere they start"
    ax.set_title("Symmetry point")
    ax.text(0.02, 0.97, text, transform=ax.transAxes, va="top", fontsize="small")
