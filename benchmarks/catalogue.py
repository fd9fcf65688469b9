"""All rows, group after group."""

from collections.abc import Iterator

from benchmarks import epochs, gpu, reads, updates
from benchmarks.rows import Case


def all_cases() -> Iterator[Case]:
    """Yield every row in the order of the table."""
    yield from updates.cases()
    yield from reads.cases()
    yield from epochs.cases()
    yield from gpu.cases()
