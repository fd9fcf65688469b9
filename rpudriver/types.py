"""The currency between algorithms and chips: pulse trains and steps go down, read results come up.

Everything here is normalised: inputs lie in [-1, 1], outputs and weights are in chip units; a chip profile says what
a unit is in siemens and volts. Samples come first (``B``), then lines (``n``), then packed words.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING, Any, final

import numpy as np
import numpy.typing as npt
import torch

from rpudriver.errors import StepError


def plain(values: torch.Tensor) -> torch.Tensor:
    """Return the same numbers contiguous and as they are said, so that an address on the CPU is enough to read them."""
    return (values.resolve_neg() if values.is_neg() else values).contiguous()


class Cell(Enum):
    """How many devices make a weight.

    ``SINGLE``: one device. ``REFERENCE``: a device minus a held reference device. ``PAIR``: half the difference of
    two devices; a pulse on the port ``device`` moves both, in opposite directions, one on ``reference`` only the
    second.
    """

    SINGLE = "single"
    REFERENCE = "reference"
    PAIR = "pair"

    @property
    def rectangles(self) -> int:
        """How many rectangles of the chip its devices take."""
        return 1 if self is Cell.SINGLE else 2


class Port(Enum):
    """Which device of a cell a pulse reaches."""

    DEVICE = "device"
    REFERENCE = "reference"

    __hash__ = object.__hash__  # a key of many look-ups; an Enum's own is a call of Python


@final
@dataclass(frozen=True)
class Placement:
    """A rectangle of one physical array: its number and the first row and column."""

    array: int
    row: int
    column: int


@final
@dataclass(frozen=True)
class Array:
    """A logical array of ``n_out x n_in`` weights on a chip, as `CrossbarBackend.allocate` returns it.

    `parts` are the rectangles it occupies: one, or two where a second device serves as reference or partner.
    """

    name: str
    n_out: int
    n_in: int
    cell: Cell
    parts: tuple[Placement, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """``(n_out, n_in)``."""
        return self.n_out, self.n_in


@final
@dataclass(frozen=True, eq=False)
class PulseTrains:
    """Stochastic or deterministic pulse trains for B samples, bit-packed.

    Attributes
    ----------
    x_words, d_words : uint32 tensors ``[B, n_in, W]`` and ``[B, n_out, W]``, ``W = ceil(max(BL) / 32)``
        Bit ``s % 32`` of word ``s // 32`` is set where the line fires in slot s. A device sees a pulse in every slot
        where both its lines fire.
    x_negative, d_negative : bool tensors ``[B, n_in]`` and ``[B, n_out]``
        Signs, kept apart; a pulse goes up where both signs agree.
    bl : int64 tensor ``[B]`` on the CPU
        Bit length BL of each sample; bits at and above it are zero. 0 means that the sample fires nothing.
    """

    x_words: torch.Tensor
    d_words: torch.Tensor
    x_negative: torch.Tensor
    d_negative: torch.Tensor
    bl: torch.Tensor

    def __post_init__(self) -> None:
        x, d = self.x_words, self.d_words
        x_shape, d_shape = x.shape, d.shape
        if x.dtype is not torch.uint32 or d.dtype is not torch.uint32 or len(x_shape) != 3 or len(d_shape) != 3:
            raise StepError(
                f"pulse trains must be uint32 words [B, n, W]; got {x.dtype} {tuple(x.shape)} for x "
                f"and {d.dtype} {tuple(d.shape)} for d"
            )
        if self.bl.dtype is not torch.int64 or self.bl.ndim != 1 or not self.bl.is_cpu:
            raise StepError(
                f"bl must be int64 [B] on the CPU; got {self.bl.dtype} {list(self.bl.shape)} on {self.bl.device}"
            )
        samples, words = len(self), x_shape[2]
        if x_shape[0] != samples or d_shape[0] != samples or d_shape[2] != words:
            raise StepError(
                f"pulse trains disagree: x {tuple(x.shape)}, d {tuple(d.shape)}, bl [{samples}]; "
                "give both sides the same number of samples and words, and one bit length per sample"
            )
        for name, negative, shape in (("x", self.x_negative, x_shape), ("d", self.d_negative, d_shape)):
            if negative.dtype is not torch.bool or negative.shape != shape[:2]:
                raise StepError(
                    f"{name}_negative must be bool {list(shape[:2])}; got {negative.dtype} {list(negative.shape)}"
                )
        lengths = self.bl.tolist()
        if lengths and (min(lengths) < 0 or max(lengths) > 32 * words):
            raise StepError(
                f"bit lengths must lie in [0, {32 * words}] for {words} words; got {min(lengths)}..{max(lengths)}"
            )

    @classmethod
    def of_arrays(cls, *arrays: npt.NDArray[Any]) -> "PulseTrains":
        """Return trains that share contiguous arrays, given in the order of the attributes.

        For compiled code that makes them right by construction: nothing is checked here. Tensors are made of them when
        they are asked for, which compiled code never does.
        """
        if len(arrays) != len(_FIELDS):
            raise ValueError(f"trains have {len(_FIELDS)} arrays; got {len(arrays)}")
        trains = object.__new__(cls)
        trains.__dict__["arrays"] = arrays  # past the frozen attributes and the cached property
        return trains

    if not TYPE_CHECKING:  # it would hide misspelt attributes

        def __getattr__(self, name: str) -> torch.Tensor:
            if name not in _FIELDS or "arrays" not in self.__dict__:
                raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
            made = self.__dict__[name] = torch.from_numpy(self.arrays[_FIELDS.index(name)])
            return made

    @cached_property
    def arrays(self) -> tuple[npt.NDArray[Any], ...]:
        """The tensors in the order of the attributes as contiguous arrays on the CPU, for compiled code to read."""
        tensors = self.x_words, self.d_words, self.x_negative, self.d_negative, self.bl
        return tuple(np.ascontiguousarray(tensor.cpu().numpy()) for tensor in tensors)

    @property
    def device(self) -> torch.device:
        """Where the words lie."""
        return self.x_words.device if "x_words" in self.__dict__ else _CPU

    def __len__(self) -> int:
        return self.bl.shape[0] if "bl" in self.__dict__ else len(self.arrays[-1])

    def to(self, device: torch.device) -> "PulseTrains":
        """Return the trains on a torch device; the bit lengths stay on the CPU."""
        if self.device == device:
            return self
        return PulseTrains(
            self.x_words.to(device),
            self.d_words.to(device),
            self.x_negative.to(device),
            self.d_negative.to(device),
            self.bl,
        )

    def __getitem__(self, samples: slice) -> "PulseTrains":
        """Return the trains of a range of samples."""
        return PulseTrains(
            self.x_words[samples],
            self.d_words[samples],
            self.x_negative[samples],
            self.d_negative[samples],
            self.bl[samples],
        )


_CPU = torch.device("cpu")
_FIELDS = ("x_words", "d_words", "x_negative", "d_negative", "bl")  # of `PulseTrains`


@final
@dataclass(frozen=True)
class Pulse:
    """Apply pulse trains to an array: sample after sample, slot after slot, the whole batch `repeat` times.

    `kind` names an entry of the chip profile (volts, width); `port` says which device of the cell is reached.
    """

    array: Array
    trains: PulseTrains
    kind: str = "update"
    port: Port = Port.DEVICE
    repeat: int = 1


@final
@dataclass(frozen=True, eq=False)
class Read:
    """Read ``y = sum_k weight_k * W_k x`` for B inputs, or with ``W_k^T`` where `transposed`.

    Attributes
    ----------
    terms : sequence of (Array, float)
        Arrays of one shape and their weights; one converter noise where the chip can sum, else one for each.
    x : float32 tensor ``[B, n_in]`` (``[B, n_out]`` transposed), in [-1, 1].
    transposed : bool
    """

    terms: tuple[tuple[Array, float], ...]
    x: torch.Tensor
    transposed: bool = False


@final
@dataclass(frozen=True, eq=False)
class Scan:
    """Apply the B samples of pulse trains in order and read single columns in between: R vectors.

    It is what `Pulse` and `Read` steps would say one after the other; a backend that does not take it gets those.

    Attributes
    ----------
    array : Array
        Pulses go to its port `Port.DEVICE`, once.
    columns : int64 tensor ``[R]`` on the CPU
        Vector r has the input `amplitude` at column ``columns[r]`` and zero elsewhere.
    after : int64 tensor ``[R]`` on the CPU
        Vector r is read after the first ``after[r]`` samples: 0 to B, never less than the one before.
    amplitude : float in (0, input bound of the chip]
    kind : entry of the chip profile, as in `Pulse`.
    """

    array: Array
    trains: PulseTrains
    columns: torch.Tensor
    after: torch.Tensor
    amplitude: float = 1.0
    kind: str = "update"

    @cached_property
    def places(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """`columns` and `after` as contiguous arrays, for compiled code to read."""
        return np.ascontiguousarray(self.columns.numpy()), np.ascontiguousarray(self.after.numpy())


@final
@dataclass(frozen=True)
class Wait:
    """Let chip time pass."""

    seconds: float


Step = Pulse | Read | Scan | Wait
Steps = Sequence[Step]


@final
@dataclass(frozen=True, eq=False)
class ReadResult:
    """What a `Read` or a `Scan` brought up.

    Attributes
    ----------
    values : float32 tensor ``[B, n]``, chip units, after the output converter.
    saturated : bool tensor ``[B, n]``, set where the output reached the converter's bound.
    """

    values: torch.Tensor
    saturated: torch.Tensor

    @cached_property
    def any_saturated(self) -> bool:
        """Whether any output of any vector is saturated."""
        return bool(self.saturated.any())

    @classmethod
    def of_array(cls, values: torch.Tensor, saturated: npt.NDArray[np.bool_], any_saturated: bool) -> "ReadResult":
        """Return what compiled code read, which knows already whether anything is saturated."""
        result = cls(values, torch.from_numpy(saturated))
        result.__dict__["any_saturated"] = any_saturated  # past the cached property
        return result
