"""Which kernel is chosen, for work where one of the two is clearly the slower one."""

import pytest

from rpudriver.backends.simulated.kernels.plan import plan

CELLS = 512 * 512


@pytest.mark.parametrize(
    ("n_out", "n_in", "entries", "coincidences", "dense"),
    [
        (512, 512, 64 * 512, 0.19 * 64 * CELLS, True),  # a batch of 64: the sparse kernel takes several times as long
        (256, 392, 10 * 256, 63e3, True),  # a mini-batch of TTv2 in its tenth epoch
        (256, 392, 166, 579.0, False),  # a transfer onto one column
        (256, 392, 8, 10.0, False),  # a mini-batch of Tiki-Taka in its first epoch
        (512, 512, 0, 0.0, False),  # nothing fires
    ],
    ids=["batch", "late", "transfer", "early", "nothing"],
)
def test_the_faster_kernel_is_chosen(n_out: int, n_in: int, entries: int, coincidences: float, dense: bool) -> None:
    chosen, cost = plan(n_out, n_in, entries, coincidences, 1)
    assert chosen is dense
    assert (cost > 0) is (coincidences > 0)
    assert plan(n_out, n_in, entries, coincidences, 1000)[1] >= cost
