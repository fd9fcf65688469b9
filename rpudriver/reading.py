"""Noise and bound management around reads (Gokmen et al. 2018; Rasch et al. 2020)."""

from collections.abc import Sequence

import torch

from rpudriver.backends.base import CrossbarBackend
from rpudriver.backends.normalising import divide, multiply
from rpudriver.types import Array, Read, ReadResult

Terms = Sequence[tuple[Array, float]]

MAX_HALVINGS = 5


def managed_read(
    backend: CrossbarBackend,
    terms: Terms,
    x: torch.Tensor,
    *,
    transposed: bool = False,
    noise_management: bool = True,
    max_halvings: int = MAX_HALVINGS,
) -> torch.Tensor:
    """Return ``sum_k weight_k W_k x`` for inputs of any size.

    Noise management divides each x by its largest absolute value, so that it fills the input range that the chip has
    and that is armed, and multiplies the result back; a zero vector is not sent, its result is zero. Bound management
    repeats the read of a vector with x halved, up to `max_halvings` times, while any of its outputs saturates.

    Parameters
    ----------
    x : float32 tensor ``[B, n]``
    noise_management : bool
        Without it, inputs beyond the chip's bound are refused by the backend.

    Returns
    -------
    float32 tensor ``[B, n_out]`` (``[B, n_in]`` transposed)
    """
    return managed_reads(
        backend, ((terms, x),), transposed=transposed, noise_management=noise_management, max_halvings=max_halvings
    )[0]


def managed_reads(
    backend: CrossbarBackend,
    jobs: Sequence[tuple[Terms, torch.Tensor]],
    *,
    transposed: bool = False,
    noise_management: bool = True,
    max_halvings: int = MAX_HALVINGS,
) -> list[torch.Tensor]:
    """Return what `managed_read` returns for each ``(terms, x)``, in one call of the chip for all of them.

    Bound management then repeats the vectors that saturated, again in one call a halving.
    """
    done = backend.normalised_reads(jobs, transposed) if noise_management and max_halvings >= 0 else None
    if done is not None and all([result.saturated is None for result in done]):
        return [result.values for result in done]
    bound = backend.allowed[1]
    open_jobs = [_Job(terms, x, transposed, noise_management, bound) for terms, x in jobs]
    for job, at_once in zip(open_jobs, done or (), strict=False):
        job.accept(at_once.values, at_once.saturated)
    todo = [job for job in open_jobs if job.vectors]
    for _ in range(max_halvings + 1 if done is None else max_halvings):
        if not todo:
            break
        for job, result in zip(todo, backend.run([job.read() for job in todo]), strict=True):
            job.take(result)
        todo = [job for job in todo if job.vectors]
    return [job.out for job in open_jobs]


class _Job:
    """The reads of one input under management: which vectors are still to be read, and by what they are divided."""

    def __init__(
        self, terms: Terms, x: torch.Tensor, transposed: bool, noise_management: bool, input_bound: float
    ) -> None:
        array = terms[0][0]
        self._terms, self._transposed = tuple(terms), transposed
        self._x = x.detach() if x.requires_grad else x
        self._bound = input_bound if noise_management else None
        self._lines = array.n_in if transposed else array.n_out
        self._out: torch.Tensor | None = None
        self._index: torch.Tensor | None = None  # the vectors to be read; None: all
        self._sent: torch.Tensor | None = None  # what is read next, where it is known already
        self.vectors = x.shape[0]
        if not (noise_management and self.vectors):
            self._divisor, self._sent = torch.ones_like(x[:, :1]), self._x.contiguous()
            return
        self._divisor, self._sent, zeros = _scaled(self._x, input_bound)
        if zeros:  # a zero vector is not sent; NaN is, the chip's validation names it
            self._keep(self._divisor[:, 0] != 0)

    @property
    def out(self) -> torch.Tensor:
        """What was read; zero where nothing was."""
        if self._out is None:
            self._out = self._x.new_zeros(len(self._x), self._lines)
        return self._out

    def _keep(self, wanted: torch.Tensor) -> None:
        """Keep some of the vectors that were to be read; `wanted` is a bool for each of them."""
        kept = wanted.nonzero()[:, 0]
        self._index = kept if self._index is None else self._index[kept]
        self._divisor, self._sent = self._divisor[kept], None
        self.vectors = kept.shape[0]

    def read(self) -> Read:
        """Return the next read."""
        if self._sent is not None:
            return Read(self._terms, self._sent, self._transposed)
        x = self._x if self._index is None else self._x[self._index]
        x = (x / self._divisor).contiguous()
        if self._bound is not None:
            x.clamp_(-self._bound, self._bound)  # the quotient may be rounded to just above the bound
        return Read(self._terms, x, self._transposed)

    def take(self, result: ReadResult) -> None:
        """Accept what was read as the chip tells it."""
        self.accept(_restored(result.values, self._divisor), result.saturated if result.any_saturated else None)

    def accept(self, values: torch.Tensor, saturated: torch.Tensor | None) -> None:
        """Accept what was read, multiplied back; what saturated is to be read again with half the input."""
        if self._index is None:
            self._out = values
        else:
            self.out[self._index] = values
        if saturated is None:
            self.vectors = 0
        else:
            self._keep(saturated.any(1))
            self._divisor = self._divisor * 2


def _on_cpu(x: torch.Tensor) -> bool:
    return x.is_cpu and x.dtype is torch.float32 and not x.is_neg()


def _scaled(x: torch.Tensor, bound: float) -> tuple[torch.Tensor, torch.Tensor, bool]:
    """Return divisors ``[B, 1]``, the vectors divided by them and held within the bound, and whether one is zero."""
    if not _on_cpu(x):
        divisor = x.abs().amax(1, keepdim=True) / bound
        return divisor, (x / divisor).clamp_(-bound, bound).contiguous(), not bool(divisor.all())
    x = x.contiguous()
    vectors, lines = x.shape
    divisor, sent = torch.empty(vectors, 1, dtype=torch.float32), torch.empty_like(x)
    zeros = divide(x.data_ptr(), vectors, lines, bound, divisor.data_ptr(), sent.data_ptr())
    return divisor, sent, zeros


def _restored(values: torch.Tensor, divisor: torch.Tensor) -> torch.Tensor:
    """Return what was read times its divisor."""
    if not (_on_cpu(values) and values.is_contiguous()):
        return values * divisor
    divisor, out, (vectors, lines) = divisor.contiguous(), torch.empty_like(values), values.shape
    multiply(values.data_ptr(), vectors, lines, divisor.data_ptr(), out.data_ptr())
    return out
