"""A fully connected layer whose weights are on a chip."""

import math
from typing import Any, Literal, NoReturn

import torch
from torch.autograd.function import once_differentiable

from rpudriver.algorithms.base import Algorithm
from rpudriver.backends.base import CrossbarBackend
from rpudriver.backends.counting import largest_size
from rpudriver.calibration.findings import Finding
from rpudriver.calibration.zero_shift import ZeroShift
from rpudriver.errors import CheckpointError, ConfigError, StepError
from rpudriver.nn.handle import AnalogHandle, Recorder, refuse_copy
from rpudriver.nn.initial import default_weights
from rpudriver.nn.passes import extended, gradients, outputs
from rpudriver.nn.shadow import Backward, check_backward
from rpudriver.nn.tiles import TileGrid

STATE_VERSION = 3
Bias = Literal["analog", "digital", "none"]


class AnalogLinear(torch.nn.Module):
    """``y = scale * (W x)`` with W on a chip: forward and backward are reads, training is done in pulses.

    The network's weights are ``scale * W``. With g the gradient at y, the backward pass reads ``W^T (scale * g)``, and
    the algorithm gets ``d = -g / scale``, so that the expected change of the network's weights is
    ``-lr * g x^T``, as in a digital layer. On a chip without transposed reads a shadow, a digital copy of W that is
    extracted from the chip now and then, multiplies instead. In ``eval()`` the layer passes gradients on but records
    nothing to train with; only `AnalogOptimizer` trains it.

    Parameters
    ----------
    in_features, out_features : int
    backend : CrossbarBackend
        An armed chip, with transposed reads unless there is a shadow. A matrix larger than its arrays becomes a grid of
        tiles.
    algorithm : Algorithm
        How the weights are trained.
    name : str
        Names the arrays on the chip and the random draws; unique on the chip.
    bias : "analog", "digital" or "none"
        A further column with the constant input 1, a digital parameter, or none.
    weight_range : float
        The largest initial weight takes this share of the nominal device's bound, ``min(w_max, -w_min)``.
    columnwise : bool
        One scale for each output instead of one for the layer (so called in Wu et al. 2025).
    learnable_scale : bool
        Adds a digital parameter `out_scale`, initially 1 and of the shape of `scale`, that multiplies y.
    initial : (weight ``[out, in]``, bias ``[out]`` or None), optional
        Instead of the default distribution of `torch.nn.Linear`, drawn from `seed` and `name`.
    zero_shift : ZeroShift or bool
        How the arrays that the algorithm names are zero-shifted: a configured procedure; by default alternating
        pulses. False leaves them as they are. What is found wrong with devices is in ``findings``.
    backward : "transposed" or "shadow"
        What passes gradients on: transposed reads, or a digital copy of the weights (`rpudriver.nn.shadow.Shadow`).
    shadow_every : int, optional
        Updates after which the copy is extracted anew, 10 by default.
    seed : int
        Seed of the initial weights, of the pulse trains and of a shadow's inputs.

    Raises
    ------
    ConfigError
        If an option is out of range or the chip already has a layer of this name.
    UnsupportedError
        If the chip has no transposed reads and `backward` asks for them.
    AllocationError, NotArmedError
        If the chip has no room left, or is not armed.
    """

    scale: torch.Tensor

    def __init__(
        self,
        in_features: int,
        out_features: int,
        backend: CrossbarBackend,
        algorithm: Algorithm[Any],
        *,
        name: str,
        bias: Bias = "analog",
        weight_range: float = 0.6,
        columnwise: bool = False,
        learnable_scale: bool = False,
        initial: tuple[torch.Tensor, torch.Tensor | None] | None = None,
        zero_shift: ZeroShift | bool = True,
        backward: Backward = "transposed",
        shadow_every: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        _check(in_features, out_features, backend, name, bias, weight_range)
        every = check_backward(backend, backward, shadow_every)
        self.in_features, self.out_features, self.name = in_features, out_features, name
        self.bias_kind, self.weight_range, self.columnwise = bias, weight_range, columnwise
        weight, offset = initial or default_weights(name, out_features, in_features, seed)
        self._check_shapes(weight, offset)
        self.grid = TileGrid(backend, algorithm, name, out_features, in_features + (bias == "analog"), seed, every)
        self.handle = AnalogHandle(self)
        self._recorder = Recorder(self.handle)
        self.register_buffer("scale", torch.ones(out_features if columnwise else 1))
        shape = self.scale.shape
        self.out_scale = torch.nn.Parameter(torch.ones(shape)) if learnable_scale else None
        self.bias = torch.nn.Parameter(torch.zeros(out_features)) if bias == "digital" else None
        self.findings: dict[str, tuple[Finding, ...]] = {}
        if zero_shift is not False:
            self.findings = self.grid.zero_shift(None if zero_shift is True else zero_shift)
        self.write_weights(weight, offset)

    # ---- PyTorch ------------------------------------------------------------------------------------------------

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the layer's output ``[..., out_features]`` for x ``[..., in_features]``, float32.

        Raises
        ------
        StepError
            If x has another shape or type, or holds NaN or infinities; nothing was sent.
        """
        if x.shape[-1:] != (self.in_features,) or x.dtype is not torch.float32:
            raise StepError(
                f"analog layer {self.name!r} takes float32 [..., {self.in_features}]; got {x.dtype} {list(x.shape)}"
            )
        flat = x if x.ndim == 2 else x.reshape(-1, self.in_features)
        y: torch.Tensor = _ChipRead.apply(flat, self.handle, self.out_scale, self.bias, self)  # type: ignore[no-untyped-call]
        return y if x.ndim == 2 else y.reshape(*x.shape[:-1], self.out_features)

    def update(self, lr: float) -> None:
        """Train on the recorded pairs with a learning rate, in network units, and forget them."""
        batch = self._recorder.take()
        if batch is not None:
            self.grid.update(*batch, lr)

    def forget(self) -> None:
        """Drop the recorded pairs."""
        self._recorder.forget()

    def extra_repr(self) -> str:
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias_kind}, "
            f"tiles={len(self.grid.tiles)}, algorithm={type(self.grid.algorithm).__name__}"
        )

    # ---- weights ------------------------------------------------------------------------------------------------

    def write_weights(self, weight: torch.Tensor, bias: torch.Tensor | None = None) -> None:
        """Choose the scale anew and write weights ``[out, in]`` and bias ``[out]`` (default: zero) to the chip."""
        self._check_shapes(weight, bias)
        weight = weight.detach().to("cpu", torch.float32)
        bias = torch.zeros(self.out_features) if bias is None else bias.detach().to("cpu", torch.float32)
        matrix = torch.cat([weight, bias[:, None]], 1) if self.bias_kind == "analog" else weight
        nominal = self.grid.backend.capabilities.device
        scale = self._largest(matrix) / (self.weight_range * min(nominal.w_max, -nominal.w_min))
        self.grid.write(matrix / scale[:, None])
        with torch.no_grad():
            self.scale.copy_(scale)
            if self.out_scale is not None:
                self.out_scale.fill_(1.0)
            if self.bias is not None:
                self.bias.copy_(bias)

    def read_weights(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return estimates of the network's weights ``[out, in]`` and bias ``[out]`` by reads, on the CPU."""
        matrix = self.grid.read_weights() * self.network_scale[:, None]
        if self.bias_kind == "analog":
            return matrix[:, :-1], matrix[:, -1]
        return matrix, None if self.bias is None else self.bias.detach().cpu().clone()

    @property
    def network_scale(self) -> torch.Tensor:
        """Network units per chip unit, ``[1]`` or ``[out]``, on the CPU: the scale times the learnable one."""
        scale = self.scale.cpu()
        return scale if self.out_scale is None else scale * self.out_scale.detach().cpu()

    def _largest(self, matrix: torch.Tensor) -> torch.Tensor:
        """Return the largest size of a weight, of the layer ``[1]`` or of each output ``[out]``, never zero."""
        overall = matrix.abs().amax().reshape(1)
        if not bool(overall > 0):
            overall = torch.full((1,), self.in_features**-0.5)
        largest = matrix.abs().amax(1) if self.columnwise else overall
        return torch.where(largest > 0, largest, overall)

    def _check_shapes(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        shape = self.out_features, self.in_features
        if tuple(weight.shape) != shape or not _finite(weight):
            raise StepError(f"weights of layer {self.name!r} must be finite {shape}; got {tuple(weight.shape)}")
        if bias is not None and (tuple(bias.shape) != shape[:1] or not _finite(bias)):
            raise StepError(f"bias of layer {self.name!r} must be finite {shape[:1]}; got {tuple(bias.shape)}")

    # ---- state --------------------------------------------------------------------------------------------------

    def get_extra_state(self) -> dict[str, Any]:
        """Return the chip's arrays and the algorithm's states, for ``state_dict()``."""
        return {"version": STATE_VERSION, **self.grid.save()}

    def set_extra_state(self, state: Any) -> None:
        """Put back what `get_extra_state` returned; raise `CheckpointError` where it does not belong here."""
        version = state.get("version") if isinstance(state, dict) else None
        if version != STATE_VERSION:
            raise CheckpointError(
                f"the state of layer {self.name!r} has version {version!r}, this code reads {STATE_VERSION}"
            )
        self.grid.load(state)
        self.forget()

    def __deepcopy__(self, memo: dict[int, Any]) -> NoReturn:
        refuse_copy(self.name)

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        refuse_copy(self.name)


class _ChipRead(torch.autograd.Function):
    """``scale * W x * out_scale + bias`` with all its gradients; that of x is a transposed read or the shadow's.

    Records what the weights are to be trained with. One function for all of it: a node of the graph costs more than
    its arithmetic.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        handle: AnalogHandle,
        gain: torch.Tensor | None,
        bias: torch.Tensor | None,
        layer: AnalogLinear,
    ) -> torch.Tensor:
        x, finite = extended(x) if layer.bias_kind == "analog" else (x, _finite(x))
        if not finite:
            raise StepError(
                f"the input of layer {layer.name!r} holds NaN or infinity; check the data or lower the learning rate"
            )
        scale = layer.scale  # modules take long to find their tensors
        y, scaled = outputs(layer.grid.forward(x), scale, gain, bias)
        ctx.handle, ctx.scale = handle, scale
        ctx.layer, ctx.records, ctx.call = layer, layer.training, layer._recorder.number_call()
        ctx.save_for_backward(x, gain, scaled if ctx.needs_input_grad[2] else None)
        return y

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return _backward_once(ctx, grad) if torch.is_grad_enabled() else _backward(ctx, grad)


def _backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    x, gain, scaled = ctx.saved_tensors
    wants_x, wants_weights, _, wants_bias, _ = ctx.needs_input_grad
    layer: AnalogLinear = ctx.layer
    found = gradients(grad, ctx.scale, gain, scaled, wants_bias)
    if not found.finite:
        raise StepError(f"the gradient at layer {layer.name!r} holds NaN or infinity; lower the learning rate")
    if wants_weights and ctx.records and x.shape[0]:
        layer._recorder.add(ctx.call, x, found.d)
    d_x = layer.grid.backward(found.back)[:, : layer.in_features] if wants_x else None
    return d_x, torch.zeros_like(ctx.handle) if wants_weights else None, found.gain, found.bias, None


_backward_once = once_differentiable(_backward)  # with a graph of its own, which nothing may be derived from


def _finite(values: torch.Tensor) -> bool:
    return math.isfinite(largest_size(values))


def _check(n_in: int, n_out: int, backend: CrossbarBackend, name: str, bias: str, weight_range: float) -> None:
    if n_in < 1 or n_out < 1:
        raise ConfigError(f"a layer of {n_in} inputs and {n_out} outputs: both must be at least 1")
    if bias not in ("analog", "digital", "none"):
        raise ConfigError(f"bias = {bias!r} must be 'analog', 'digital' or 'none'")
    if not 0 < weight_range <= 1:
        raise ConfigError(f"weight_range = {weight_range!r} must lie in (0, 1]")
    taken = [array.name for array in backend.status().arrays if array.name.startswith(f"{name}/")]
    if not name or taken:
        raise ConfigError(
            f"layer name {name!r} must be given and not be taken on this chip (arrays: {', '.join(taken) or 'none'}); "
            "choose another name or open a fresh chip"
        )
