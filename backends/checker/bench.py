"""The bench of a check: an open chip, pushes that are strong enough to be seen, and reads averaged as needed."""

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self, final

import torch

from rpudriver.backends.base import CrossbarBackend
from rpudriver.backends.capabilities import Capabilities
from rpudriver.errors import AllocationError
from rpudriver.trains import counted_pulses
from rpudriver.types import Array, Cell, Port, Pulse, PulseTrains, Read

MAX_VECTORS = 20_000  # reads that one measurement may take
MAX_PUSH = 20_000  # pulses that one push may take
CHUNK = 4096  # vectors in one read
SIDE = 8  # lines of the arrays that most checks use


class CheckFailedError(Exception):
    """The backend breaks the contract."""


class CheckSkippedError(Exception):
    """The check cannot be made on this chip."""


def require(condition: bool, found: str) -> None:
    """Raise `CheckFailedError` with what was found unless the condition holds."""
    if not condition:
        raise CheckFailedError(found)


@final
@dataclass(frozen=True)
class Check:
    """A check: its name, the function whose first docstring line is the statement, and what usually breaks it."""

    name: str
    function: Callable[["Bench"], None]
    likely_mistake: str

    @property
    def statement(self) -> str:
        """What the contract says, in one line."""
        return (inspect.getdoc(self.function) or self.name).splitlines()[0]


class Bench:
    """An armed chip and the tools to move and measure it through the public contract.

    Parameters
    ----------
    open_backend
        Opens the chip, not armed.
    """

    def __init__(self, open_backend: Callable[[], CrossbarBackend]) -> None:
        self._open = open_backend
        self.chip = open_backend()
        self.chip.arm()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.chip.close()

    def reopen(self, arm: bool = True) -> CrossbarBackend:
        """Close the chip and open it again."""
        self.chip.close()
        self.chip = self._open()
        if arm:
            self.chip.arm()
        return self.chip

    # ---- what the chip declares ---------------------------------------------------------------------------------

    @property
    def capabilities(self) -> Capabilities:
        """What the chip declares."""
        return self.chip.capabilities

    @property
    def span(self) -> float:
        """Distance between the declared bounds of a weight."""
        return self.capabilities.device.w_max - self.capabilities.device.w_min

    @property
    def push(self) -> int:
        """Pulses that carry a device from one end of its range to near the other: the number of its states."""
        push = math.ceil(self.capabilities.device.n_states)
        if push > MAX_PUSH:
            raise CheckSkippedError(f"needs {push} pulses to cross the range of a device; at most {MAX_PUSH} are sent")
        return push

    @property
    def long_push(self) -> int:
        """Pulses after which slow devices have arrived as well; where states are few, devices differ most."""
        return max(self.push, 64)

    @property
    def adc_step(self) -> float:
        """Step of the output converter, 0 without one."""
        return converter_step(self.capabilities.output_bits, self.capabilities.output_bound)

    @property
    def rounding(self) -> float:
        """Error of one output that no averaging removes: read noise of half a step or more dithers it away."""
        return 0.0 if self.capabilities.output_noise >= self.adc_step / 2 else self.adc_step / 2

    @property
    def sigma(self) -> float:
        """Declared standard deviation of one output, rounding included."""
        return math.hypot(self.capabilities.output_noise, self.adc_step / math.sqrt(12))

    # ---- arrays and pulses --------------------------------------------------------------------------------------

    def square(self, name: str = "check", cell: Cell = Cell.SINGLE, side: int = SIDE) -> Array:
        """Return an array of equally many lines both ways, an even number, at most `side`."""
        lines = min(side, self.capabilities.rows, self.capabilities.columns) // 2 * 2
        if lines < 2:
            raise CheckSkippedError(
                f"needs 2 x 2 lines; this chip has {self.capabilities.rows} x {self.capabilities.columns}"
            )
        return self.array(name, lines, lines, cell)

    def array(self, name: str, n_out: int, n_in: int, cell: Cell = Cell.SINGLE) -> Array:
        """Return an array, or skip the check where it does not fit."""
        try:
            return self.chip.allocate(name, n_out, n_in, cell)
        except AllocationError as error:
            raise CheckSkippedError(f"this chip is too small for the check: {error}") from None

    def drive(
        self, array: Array, pulses: int, rows: torch.Tensor | None = None, columns: torch.Tensor | None = None
    ) -> None:
        """Give every device (or those at some rows and columns) pulses: up where positive, down where negative."""
        self.chip.run(self.pushes(array, pulses, rows, columns))

    def pushes(
        self, array: Array, pulses: int, rows: torch.Tensor | None = None, columns: torch.Tensor | None = None
    ) -> list[Pulse]:
        """Return the step that `drive` runs; long trains become several samples of at most the longest BL."""
        longest = self.capabilities.longest_bl
        counts = [longest] * (abs(pulses) // longest) + [abs(pulses) % longest]
        bl = torch.tensor([count for count in counts if count])
        fires = torch.arange(int(bl.max()))[None, None, :] < bl[:, None, None]
        d = fires & (torch.ones(array.n_out, dtype=torch.bool) if rows is None else rows)[None, :, None]
        x = fires & (torch.ones(array.n_in, dtype=torch.bool) if columns is None else columns)[None, :, None]
        plus, down = torch.zeros(x.shape[:2]) > 0, torch.full(d.shape[:2], pulses < 0)
        return [Pulse(array, PulseTrains(pack(x), pack(d), plus, down, bl))]

    def to_bottom(self, array: Array, port: Port = Port.DEVICE) -> None:
        """Drive every device near the lower end of its range, wherever it was."""
        self.counted(array, torch.full(array.shape, -2 * self.long_push), port)  # soft bounds are reached slowly

    def counted(self, array: Array, counts: torch.Tensor, port: Port = Port.DEVICE) -> None:
        """Give every device its own number of pulses (signed), int64 ``[n_out, n_in]``."""
        if bool((counts == counts[0, 0]).all()) and port is Port.DEVICE:
            return self.drive(array, int(counts[0, 0]))
        longest = self.capabilities.longest_bl
        while bool(counts.any()):
            part = counts.clamp(-longest, longest)
            self.chip.run([Pulse(array, counted_pulses(part), port=port)])
            counts = counts - part
        return None

    def pattern(self, array: Array, high: torch.Tensor) -> None:
        """Put the devices of a mask ``[n_out, n_in]`` near the upper end of their range, the others near the lower."""
        self.to_bottom(array)
        self.counted(array, self.push * high.long())

    def halves(self, lines: int) -> torch.Tensor:
        """Return a mask of the first half of some lines."""
        return torch.arange(lines) < lines // 2

    # ---- reads --------------------------------------------------------------------------------------------------

    @property
    def amplitude(self) -> float:
        """The largest input that keeps the read of a single weight off the output bound."""
        capabilities = self.capabilities
        largest = 1.5 * max(capabilities.device.w_max, -capabilities.device.w_min)
        bound = capabilities.output_bound
        wanted = capabilities.input_bound if bound is None else min(capabilities.input_bound, bound / largest)
        step = converter_step(capabilities.input_bits, capabilities.input_bound)
        return math.floor(wanted / step + 1e-9) * step if step else wanted  # a level of the input converter

    def repeats(self, error: float, lines: int) -> int:
        """Return how often to read so that an output is known to a standard error, or skip the check.

        Parameters
        ----------
        error : wanted standard error of an output, chip units.
        lines : vectors in one repetition.
        """
        if self.rounding > 4 * error:
            bits = math.ceil(math.log2(self.rounding / (4 * error))) + (self.capabilities.output_bits or 0)
            raise CheckSkippedError(
                f"no number of reads resolves {error:.2g} below the converter's step; needs {bits} bits"
            )
        needed = max(4, math.ceil((self.sigma / error) ** 2))
        if needed * lines > MAX_VECTORS:
            raise CheckSkippedError(
                f"needs {needed * lines} reads at the declared noise; at most {MAX_VECTORS} are made"
            )
        return needed

    def weights(self, array: Array, error: float | None = None, transposed: bool = False) -> torch.Tensor:
        """Return the weights ``[n_out, n_in]``, each line's one-hot input read as often as needed.

        Parameters
        ----------
        error : wanted standard error of one weight; by default a fortieth of the range.
        """
        error = self.span / 40 if error is None else error
        lines = array.n_out if transposed else array.n_in
        repeats = self.repeats(error * self.amplitude, lines)
        mean = self.mean_read(array, torch.eye(lines) * self.amplitude, repeats, transposed) / self.amplitude
        return mean if transposed else mean.t()

    def mean_read(self, array: Array, x: torch.Tensor, repeats: int, transposed: bool = False) -> torch.Tensor:
        """Return the mean of `repeats` reads of every vector of ``x [B, n]``."""
        total: torch.Tensor | float = 0.0
        block = max(1, CHUNK // len(x))
        for start in range(0, repeats, block):
            count = min(block, repeats - start)
            values = self.chip.read_matvec(array, x.repeat(count, 1), transposed).values.cpu().double()
            total = total + values.view(count, len(x), -1).sum(0)
        return torch.as_tensor(total) / repeats

    def read_sums(self, array: Array, weights: tuple[tuple[Array, float], ...], x: torch.Tensor) -> torch.Tensor:
        """Return the read of a weighted sum of arrays."""
        return self.chip.run([Read(weights, x)])[0].values.cpu().double()

    # ---- judgements ---------------------------------------------------------------------------------------------

    def moved_up(self, change: torch.Tensor, what: str) -> None:
        """Fail unless devices moved up by a quarter of the range on average."""
        mean = float(change.mean())
        require(mean > self.span / 4, f"{what} should move up by about {self.span:.3g}, but moved by {mean:.3g}")

    def moved_down(self, change: torch.Tensor, what: str) -> None:
        """Fail unless devices moved down by a quarter of the range on average."""
        mean = float(change.mean())
        require(mean < -self.span / 4, f"{what} should move down by about {self.span:.3g}, but moved by {mean:.3g}")

    def stayed(self, change: torch.Tensor, what: str) -> None:
        """Fail unless devices stayed where they were, on average to an eighth of the range."""
        mean = float(change.mean())
        require(abs(mean) < self.span / 8, f"{what} should stay, but moved by {mean:.3g} (range {self.span:.3g})")


def converter_step(bits: int | None, bound: float | None) -> float:
    """Return the step of a converter over ``[-bound, bound]``, 0 where there is none."""
    return 0.0 if bits is None or bound is None else bound / (2 ** (bits - 1) - 1)


def pack(slots: torch.Tensor) -> torch.Tensor:
    """Return bool slots ``[B, n, S]`` as uint32 words ``[B, n, max(1, ceil(S / 32))]``."""
    words = max(1, -(-slots.shape[2] // 32))
    padded = torch.nn.functional.pad(slots.long(), (0, 32 * words - slots.shape[2]))
    bits = padded.view(*slots.shape[:2], words, 32) << torch.arange(32)
    return bits.sum(3).to(torch.uint32)


def trains(
    x: torch.Tensor, d: torch.Tensor, x_negative: torch.Tensor | None = None, d_negative: torch.Tensor | None = None
) -> PulseTrains:
    """Return trains of slots ``x [B, n_in, S]`` and ``d [B, n_out, S]``, of BL S; signs default to plus."""
    bl = torch.full((len(x),), x.shape[2])
    plus_x, plus_d = torch.zeros(x.shape[:2], dtype=torch.bool), torch.zeros(d.shape[:2], dtype=torch.bool)
    return PulseTrains(
        pack(x),
        pack(d),
        plus_x if x_negative is None else x_negative,
        plus_d if d_negative is None else d_negative,
        bl,
    )
