"""From a config to a network on a chip."""

import pytest

from rpudriver.errors import AllocationError
from rpudriver.experiment.config import load_config
from rpudriver.experiment.network import build_network, open_chip


def test_a_network_too_large_for_the_chip_is_refused_before_anything_is_sent() -> None:
    """The three tiles of the first layer take all nine arrays; the second layer is what does not fit."""
    config = load_config("digits-ttv2", ['backend.profile="small"', "backend.chip.arrays=9"])
    chip = open_chip(config)
    assert chip is not None
    chip.arm()
    with pytest.raises(AllocationError, match="number 7 of those planned"):
        build_network(config, chip)
    assert chip.status().arrays == ()
    assert chip.status().cost["reads"] == 0
