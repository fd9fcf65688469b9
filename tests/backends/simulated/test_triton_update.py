"""The pulsed update in Triton against the one in torch: same trains, same noise, so the same pulses and weights."""

from typing import Any

import pytest
import torch

from rpudriver.backends.oracle import oracle
from rpudriver.backends.registry import make
from rpudriver.backends.simulated import native
from rpudriver.backends.simulated import update as dispatch
from rpudriver.backends.simulated.bank import Bank, new_bank
from rpudriver.backends.simulated.devices.spec import load_preset
from rpudriver.backends.simulated.pulses import Action, apply_trains
from rpudriver.types import Cell, Port, PulseTrains, Scan
from tests.interpreted import triton_device

DEVICE = triton_device()

from rpudriver.backends.simulated.triton import update  # noqa: E402  (after the skip where Triton is absent)

FAMILIES: dict[str, dict[str, Any]] = {
    "constant": {"family": "constant"},
    "soft-bounds": {"family": "soft-bounds"},
    "power": {"family": "power", "tau": {"mean": 0.6, "d2d": 0.1}, "gamma": {"mean": 1.7, "d2d": 0.1}},
    "power-0": {"family": "power", "tau": 0.05, "gamma": 0.0},
    "exponential": {"family": "exponential", "tau": {"mean": 0.7, "d2d": 0.1}, "gamma": {"mean": 1.3, "d2d": 0.1}},
    "exponential-small": {"family": "exponential", "tau": 0.7, "gamma": 0.01},
    "measured": {
        "family": "measured",
        "w": (-0.1, -0.05, 0.0, 0.03, 0.07, 0.1),  # devices go beyond both ends
        "dw_up": (0.15, 0.02, 0.01, 0.01, 0.02, 0.03),
        "dw_down": (0.02, 0.01, 0.01, 0.02, 0.02, 0.03),
        "dw_spread": (0.001, 0.002, 0.0, 0.003, 0.004, 0.001),
    },
    "measured-2": {"family": "measured", "w": (-0.3, 0.3), "dw_up": (0.03, 0.01), "dw_down": (0.01, 0.03)},
}
NOISES: dict[str, dict[str, Any]] = {
    "quiet": {"c2c": 0.0},
    "multiplicative": {"c2c": 0.4},
    "all": {"c2c": 0.3, "c2c_additive": 0.2, "write_noise": 1.2, "stuck": {"fraction": 0.1, "value": 0.2}},
}


def banks(family: str, noise: str, shape: tuple[int, int], **keys: Any) -> tuple[Bank, Bank]:
    """Return a bank for torch, and the same for Triton."""
    device = {"response": FAMILIES[family]} | NOISES[noise] | keys
    spec = load_preset("asymmetric-100", {"device": device}).device
    return new_bank(spec, 7, "W/device", shape), new_bank(spec, 7, "W/device", shape, DEVICE)


def trains(shape: tuple[int, int], samples: int, bl: int, density: float, seed: int = 0) -> PulseTrains:
    """Return trains whose lines fire with a probability in every slot; their lengths fall from sample to sample."""
    g, words = torch.Generator().manual_seed(seed), -(-bl // 32)
    lengths = torch.tensor([max(bl - 3 * sample, 0) for sample in range(samples)])
    used = torch.arange(32 * words) < lengths[:, None, None]

    def side(lines: int) -> torch.Tensor:
        fires = (torch.rand(samples, lines, 32 * words, generator=g) < density) & used
        bits = fires.view(samples, lines, words, 32).long() << torch.arange(32)
        return bits.sum(-1).to(torch.uint32)

    def signs(lines: int) -> torch.Tensor:
        return torch.rand(samples, lines, generator=g) < 0.5

    n_out, n_in = shape
    return PulseTrains(side(n_in), side(n_out), signs(n_in), signs(n_out), lengths)


def compare(slow: Bank, fast: Bank) -> None:
    """Counts are equal, weights are within 1e-5, and the devices did move."""
    assert torch.equal(slow.pulses, fast.pulses.cpu())
    torch.testing.assert_close(fast.hidden.cpu(), slow.hidden, atol=1e-5, rtol=0)
    torch.testing.assert_close(fast.read.cpu(), slow.read, atol=1e-5, rtol=0)
    assert slow.hidden.abs().max() > 0.01


@pytest.mark.parametrize("dw_min", [0.05, 0.002], ids=["coarse", "fine"])
@pytest.mark.parametrize("noise", ["multiplicative", "all"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_equals_torch(family: str, noise: str, dw_min: float) -> None:
    """Devices from all over their range; both polarities, a strength, repeats."""
    shape = (4, 9)
    slow, fast = banks(family, noise, shape, dw_min={"mean": dw_min, "d2d": 0.2})
    for bank in (slow, fast):
        start = torch.linspace(-0.4, 0.4, 36)[torch.arange(36) * 5 % 36]
        bank.set_state(start, start)
    for k, (repeat, strength, flip) in enumerate([(1, 1.0, False), (2, 0.7, True)]):
        some = trains(shape, 2, 8, 0.4, k)
        apply_trains(slow, some, repeat, Action(strength, flip))
        update.apply_trains(fast, some.to(DEVICE), repeat, strength, flip)
    compare(slow, fast)
    assert (slow.hidden - start).abs().max() > dw_min


def test_without_noise() -> None:
    slow, fast = banks("soft-bounds", "quiet", (4, 9))
    some = trains((4, 9), 2, 8, 0.4)
    apply_trains(slow, some, 1, Action())
    update.apply_trains(fast, some.to(DEVICE))
    compare(slow, fast)


def test_long_trains_overflow_the_queues() -> None:
    """Three words a train, all slots dense: a device sees up to 32 pulses a word, 150 in all."""
    slow, fast = banks("soft-bounds", "all", (3, 5))
    some = trains((3, 5), 2, 96, 0.9)
    apply_trains(slow, some, 1, Action())
    update.apply_trains(fast, some.to(DEVICE))
    compare(slow, fast)
    assert slow.pulses.max() > 126  # more than two queues hold


@pytest.mark.parametrize(("bl", "samples", "pulses"), [(32, 2, 61), (24, 4, 78)])
def test_queues_are_drained_before_they_overflow(bl: int, samples: int, pulses: int) -> None:
    """All lines fire in all slots, and so do devices: a full word; a little more than 64 pulses in all."""
    slow, fast = banks("constant", "multiplicative", (2, 3))
    some = trains((2, 3), samples, bl, 1.1)
    apply_trains(slow, some, 2, Action())
    update.apply_trains(fast, some.to(DEVICE), 2)
    compare(slow, fast)
    assert (slow.pulses == 2 * pulses).all()


def test_several_tiles_with_idle_rows() -> None:
    """Three row blocks and two column blocks, one of them partly filled; most rows do not fire in most samples."""
    slow, fast = banks("power", "all", (3, 70))
    some = trains((3, 70), 5, 16, 0.05)
    some.d_words[1:4, 0] = 0
    some.d_words[:, 1] = 0
    apply_trains(slow, some, 1, Action())
    update.apply_trains(fast, some.to(DEVICE))
    compare(slow, fast)
    assert (slow.pulses.view(3, 70)[1] == 0).all()


def test_snapshots_are_columns_on_the_way() -> None:
    """Two tiles; snapshots before the first sample, several after one sample, and after the last."""
    shape, after, columns = (2, 70), [0, 1, 1, 1, 3, 4, 4], [3, 3, 69, 4, 66, 3, 0]
    slow, fast = banks("soft-bounds", "all", shape)
    first, some = trains(shape, 2, 6, 0.3, seed=5), trains(shape, 4, 8, 0.3, seed=6)
    apply_trains(slow, first, 1, Action())  # so that devices have a reading before the first snapshot
    update.apply_trains(fast, first.to(DEVICE))
    found = update.apply_trains(fast, some.to(DEVICE), columns=torch.tensor(columns), after=torch.tensor(after))
    assert found is not None
    expected = []
    for sample in range(5):
        expected += [slow.weights[:, column].clone() for column, n in zip(columns, after, strict=True) if n == sample]
        if sample < 4:
            apply_trains(slow, some[sample : sample + 1], 1, Action())
    torch.testing.assert_close(found.cpu(), torch.stack(expected), atol=1e-5, rtol=0)
    assert len({tuple(row.tolist()) for row in found}) == len(columns)
    compare(slow, fast)


def test_grouping_of_samples_changes_no_bit() -> None:
    _, at_once = banks("exponential", "all", (4, 9))
    _, in_parts = banks("exponential", "all", (4, 9))
    some = trains((4, 9), 3, 8, 0.4).to(DEVICE)
    update.apply_trains(at_once, some)
    for sample in range(3):
        update.apply_trains(in_parts, some[sample : sample + 1])
    for name in ("hidden", "read", "pulses"):
        assert torch.equal(getattr(at_once, name), getattr(in_parts, name))


def test_counts_run_over_the_largest_int32() -> None:
    slow, fast = banks("soft-bounds", "all", (2, 3))
    for bank in (slow, fast):
        bank.pulses.fill_(2**31 - 3)
    some = trains((2, 3), 2, 10, 0.7)
    apply_trains(slow, some, 1, Action())
    update.apply_trains(fast, some.to(DEVICE))
    compare(slow, fast)
    assert (slow.pulses < 0).any()


def test_no_samples_change_nothing() -> None:
    _, fast = banks("soft-bounds", "all", (2, 3))
    before = fast.hidden.clone()
    update.apply_trains(fast, trains((2, 3), 1, 8, 0.5)[:0].to(DEVICE))
    assert torch.equal(fast.hidden, before)
    assert not fast.pulses.any()


@pytest.mark.parametrize("cell", Cell)
def test_the_backend_hands_its_updates_over(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pulses on both ports and a scan with its reads, next to the same chip on the CPU's own kernels."""
    some = trains((3, 6), 3, 6, 0.4).to(DEVICE)
    columns, after = torch.tensor([4, 1, 1]), torch.tensor([0, 2, 3])
    results = []
    for where in (torch.device("cpu"), DEVICE):
        if where is DEVICE:
            monkeypatch.setattr(native, "has_kernel", lambda bank: False)
            monkeypatch.setattr(dispatch, "available", lambda tensor: True)
        chip = make("simulated", preset="asymmetric-100", seed=3, device=NOISES["all"], torch_device=where.type)
        chip.arm()
        array = chip.allocate("W", 3, 6, cell)
        chip.apply_pulses(array, some, repeat=2)
        if cell is not Cell.SINGLE:
            chip.apply_pulses(array, some, port=Port.REFERENCE)
        read = chip.run([Scan(array, some, columns, after, 1.0)])[0]
        results.append((oracle(chip).true_weights(array).cpu(), read.values.cpu()))
    (slow, slow_read), (fast, fast_read) = results
    torch.testing.assert_close(fast, slow, atol=1e-5, rtol=0)
    assert slow.abs().max() > 0.01
    c = chip.capabilities
    assert c.output_bound
    assert c.output_bits
    step = c.output_bound / (2 ** (c.output_bits - 1) - 1)  # a value beside a boundary may fall to either side of it
    assert (fast_read - slow_read).abs().max() < 1.01 * step
    assert ((fast_read - slow_read).abs() < 1e-5).double().mean() > 0.8
