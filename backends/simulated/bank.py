"""The devices of one port of an array: their drawn parameters and their state."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from rpudriver.backends.simulated.devices.spec import Device
from rpudriver.backends.simulated.kernels.families import family_of, rows_of
from rpudriver.backends.simulated.kernels.lookup import Table, table_of
from rpudriver.backends.simulated.variability import draw_devices
from rpudriver.keyed import arrays


@dataclass
class Bank:
    """Devices, flat: cell ``i * n_in + j`` is row i, column j.

    Attributes
    ----------
    parameters : float32 tensors ``[n_out * n_in]`` by name, see `draw_devices`.
    hidden : float32 tensor ``[n_out * n_in]``, what pulses move.
    pulses : int32 tensor ``[n_out * n_in]``, how many pulses each device has seen in its life, modulo 2^32.
    read : the same, what reads see; it is `hidden` itself where there is no write noise.
    stream : ``"{array}/{port}"``, the first part of the names of its random streams.
    version : rises with every change of state, so that what is derived from it can be kept.
    family, rows, table, keys : the response family, the parameters ``[rows, cells]``, the measured table and the key
        words of pulse and write noise, as compiled kernels take them; family None where no kernel has the response.
    """

    device: Device
    seed: int
    stream: str
    shape: tuple[int, int]
    parameters: Mapping[str, torch.Tensor]
    hidden: torch.Tensor
    pulses: torch.Tensor
    read: torch.Tensor
    family: int | None
    rows: npt.NDArray[np.float32]
    table: Table
    keys: tuple[np.uint32, ...]
    version: int = 0
    kept: object = None  # what `native` worked out for this state

    def __post_init__(self) -> None:
        self.rows_at = int(self.rows.ctypes.data)  # rows are never replaced, and to ask for this takes a microsecond

    @property
    def weights(self) -> torch.Tensor:
        """The read state as ``[n_out, n_in]``."""
        return self.read.view(self.shape)

    def set_state(self, hidden: torch.Tensor, read: torch.Tensor, pulses: torch.Tensor | None = None) -> None:
        """Replace both states, and the number of pulses seen where it is given."""
        self.version += 1
        self.kept = None
        self.hidden = hidden.to(self.hidden).flatten().clone()
        self.read = read.to(self.read).flatten().clone() if self.device.write_noise else self.hidden
        if pulses is not None:
            self.pulses = pulses.to(self.pulses).flatten().clone()


def new_bank(
    device: Device, seed: int, stream: str, shape: tuple[int, int], torch_device: torch.device | None = None
) -> Bank:
    """Return fresh devices with parameters drawn from the seed."""
    drawn = draw_devices(device, seed, stream, *shape)
    parameters = {name: torch.from_numpy(value.ravel()).to(torch_device) for name, value in drawn.items()}
    hidden = parameters.pop("initial").clone()
    read = hidden.clone() if device.write_noise else hidden
    pulses = torch.zeros_like(hidden, dtype=torch.int32)
    family = family_of(device, parameters)
    table = table_of(device.response, device.dw_min.mean)
    keys = tuple(
        np.uint32(word) for purpose in ("pulse", "write") for word in arrays.key(seed, f"{stream}/{purpose}", 0)
    )
    return Bank(
        device, seed, stream, shape, parameters, hidden, pulses, read, family, rows_of(family, parameters), table, keys
    )
