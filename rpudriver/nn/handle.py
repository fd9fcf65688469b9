"""The link between PyTorch and an analog layer: a parameter without numbers, and the pairs to train with."""

from typing import TYPE_CHECKING, Any, NoReturn, final

import torch

from rpudriver.errors import ConfigError

if TYPE_CHECKING:
    from rpudriver.nn.linear import AnalogLinear

Pair = tuple[torch.Tensor, torch.Tensor]


@final
class AnalogHandle(torch.nn.Parameter):
    """Stands for an analog layer's weights among ``model.parameters()``: the numbers themselves are on the chip.

    It is empty, so it counts for nothing in norms and sizes. ``requires_grad_(False)`` freezes the layer.
    """

    layer: "AnalogLinear"

    def __new__(cls, layer: "AnalogLinear") -> "AnalogHandle":
        handle = super().__new__(cls, torch.zeros(0))
        handle.layer = layer
        return handle

    def __init__(self, layer: "AnalogLinear") -> None:
        super().__init__()

    def __deepcopy__(self, memo: dict[int, Any]) -> NoReturn:
        refuse_copy(self.layer.name)

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        refuse_copy(self.layer.name)


def refuse_copy(name: str) -> NoReturn:
    """Raise what copying and pickling of an analog layer end in."""
    raise ConfigError(
        f"analog layer {name!r} lives on a chip and cannot be copied or pickled: save model.state_dict(), build the "
        "model again on a fresh chip of the same preset and seed, and load_state_dict() into it"
    )


class Recorder:
    """The (x, d) pairs of a layer, from backward passes to the optimizer's step.

    A pair counts only once the backward pass reaches the handle, so ``torch.autograd.grad`` with respect to inputs
    records nothing; pairs are in the order of the forward calls. Clearing the handle's gradient, which every kind of
    ``zero_grad()`` does, drops the pairs of earlier passes.
    """

    def __init__(self, handle: AnalogHandle) -> None:
        self._handle = handle
        self._calls = 0
        self._pending: dict[int, list[tuple[int, Pair]]] = {}  # by backward pass
        self._pairs: list[Pair] = []
        handle.register_hook(lambda grad: self._commit())  # type: ignore[no-untyped-call]  # runs before the handle's gradient is set

    def number_call(self) -> int:
        """Return the number of this forward call."""
        self._calls += 1
        return self._calls

    def add(self, call: int, x: torch.Tensor, d: torch.Tensor) -> None:
        """Note a pair of the backward pass that is running."""
        self._pending.setdefault(_running_pass(), []).append((call, (x, d)))

    def _commit(self) -> None:
        if self._handle.grad is None:
            self._pairs.clear()
        pending = self._pending.pop(_running_pass(), [])
        self._pairs += [pair for _, pair in sorted(pending, key=lambda entry: entry[0])]

    def take(self) -> Pair | None:
        """Return all pairs as one batch and forget them; None where there are none."""
        pairs = [] if self._handle.grad is None else list(self._pairs)
        self.forget()
        if len(pairs) < 2:
            return pairs[0] if pairs else None
        return torch.cat([x for x, _ in pairs]), torch.cat([d for _, d in pairs])

    def forget(self) -> None:
        """Drop all pairs."""
        self._pairs.clear()
        self._pending.clear()

    def __len__(self) -> int:
        return len(self._pairs)


def _running_pass() -> int:
    """Return the number of the backward pass that is running; checkpointing in torch tells passes apart by it too."""
    return int(torch._C._current_graph_task_id())
