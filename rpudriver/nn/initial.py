"""Initial weights from a named seed, so that analog and digital networks start alike on every machine."""

import numpy as np
import torch

from rpudriver.keyed import arrays as keyed


def default_weights(name: str, n_out: int, n_in: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a weight ``[n_out, n_in]`` and a bias ``[n_out]`` from the default distribution of `torch.nn.Linear`.

    Both are uniform in ``+-1 / sqrt(n_in)``, drawn from the streams ``"{name}/weight"`` and ``"{name}/bias"``.
    """
    bound = n_in**-0.5
    return (
        bound * _uniform(seed, f"{name}/weight", np.arange(n_out * n_in).reshape(n_out, n_in)),
        bound * _uniform(seed, f"{name}/bias", np.arange(n_out)),
    )


def _uniform(seed: int, stream: str, cells: "np.typing.NDArray[np.int64]") -> torch.Tensor:
    """Return float32 numbers in (-1, 1)."""
    words = keyed.draw(keyed.key(seed, stream, 0), cells, 0)
    return torch.from_numpy(((words.astype(np.float64) + 0.5) / 2.0**31 - 1).astype(np.float32))
