"""Everything that knows aihwkit, which is optional here and never a dependency of the package.

Its tiles are called as its own layers call them. What a caller gets are plain callables, so that the rows need not
know whose they are.
"""

import importlib.metadata
import importlib.util
from collections.abc import Callable, Sequence
from typing import Any

import torch

Call = Callable[[], object]
Batch = tuple[torch.Tensor, torch.Tensor]


def available() -> bool:
    """Return whether aihwkit can be imported."""
    return importlib.util.find_spec("aihwkit") is not None


def version() -> str | None:
    """Return its version, or None where it is not installed."""
    return importlib.metadata.version("aihwkit") if available() else None


def device(kind: str, **settings: Any) -> Any:
    """Return the settings of one of its devices, for example ``device("SoftBounds", dw_min=0.001)``."""
    from aihwkit.simulator.configs import devices

    return getattr(devices, f"{kind}Device")(**settings)


def update_call(
    shape: tuple[int, int], batches: Sequence[Batch], lr: float, max_bl: int, managed: bool, settings: Any
) -> Call:
    """Return one pulsed update of a tile ``[n_out, n_in]`` with each batch; the sign of d alternates, call by call.

    Parameters
    ----------
    managed : its default, update and bit-length management both on, or both off.
    settings : what `device` returned.
    """
    from aihwkit.simulator.configs import SingleRPUConfig
    from aihwkit.simulator.parameters.training import UpdateParameters
    from aihwkit.simulator.tiles.analog import AnalogTile

    update = UpdateParameters(desired_bl=max_bl, update_management=managed, update_bl_management=managed)
    tile = AnalogTile(*shape, SingleRPUConfig(device=settings, update=update))
    tile.set_learning_rate(lr)
    turn = [[(x, -d) for x, d in batches], list(batches)]

    def call() -> None:
        turn.reverse()
        for x, d in turn[0]:
            tile.update(x, d)

    return call


def read_call(weights: torch.Tensor, x: torch.Tensor, managed: bool) -> Call:
    """Return one noisy, quantised read ``W x``: 7 bits in, 9 bits out, noise 0.06; its defaults.

    Parameters
    ----------
    managed : its default, noise and bound management both on, or both off.
    """
    from aihwkit.simulator.configs import SingleRPUConfig
    from aihwkit.simulator.parameters.enums import BoundManagementType, NoiseManagementType
    from aihwkit.simulator.parameters.io import IOParameters
    from aihwkit.simulator.tiles.analog import AnalogTile

    off = {"noise_management": NoiseManagementType.NONE, "bound_management": BoundManagementType.NONE}
    tile = AnalogTile(*weights.shape, SingleRPUConfig(forward=IOParameters(**({} if managed else off))))
    tile.set_weights(weights)
    return lambda: tile.tile.forward(x, False, False, False, False, False)
