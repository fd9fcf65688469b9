import math

import pytest
import torch

from rpudriver.backends.base import CrossbarBackend
from rpudriver.backends.registry import make
from rpudriver.calibration.procedure import usable
from rpudriver.errors import CalibrationError, ConfigError, NotArmedError
from tests.calibration.walk import Walk


def armed(name: str = "simulated") -> CrossbarBackend:
    chip = make(name, preset="asymmetric-100", seed=3, chip={"rows": 6, "columns": 4})
    chip.arm()
    return chip


@pytest.mark.parametrize("name", ["simulated", "reference"])
def test_the_constructor_only_stores_and_fit_returns_self(name: str) -> None:
    walk = Walk(steps=3)
    assert walk.settings() == {"seed": 0, "steps": 3, "way": "up"}
    assert not hasattr(walk, "record_")
    chip = armed(name)
    assert walk.fit(chip) is walk
    assert walk.record_.cost["reads"] == 3
    assert walk.record_.cost["coincidences"] == 3 * 24
    assert (walk.record_.chip, walk.record_.rows, walk.record_.columns) == (chip.fingerprint, 6, 4)
    assert walk.record_.settings == walk.settings()


def test_fitting_twice_equals_fitting_once() -> None:
    once, twice = Walk().fit(armed()), Walk()
    twice.fit(armed())
    twice.fit(armed())
    assert torch.equal(once.data_["reads"], twice.data_["reads"])
    assert once.record_.cost == twice.record_.cost


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"steps": 0}, r"steps = 0 must lie in \[1, 100\]"),
        ({"way": "upp"}, "did you mean 'up'"),
        ({"seed": -1}, "seed"),
    ],
)
def test_a_bad_setting_is_named_and_nothing_is_sent(settings: dict[str, object], words: str) -> None:
    chip = armed()
    with pytest.raises(ConfigError, match=words):
        Walk(**settings).fit(chip)  # type: ignore[arg-type]
    assert not any(chip.status().cost.values())


def test_a_chip_that_is_not_armed_is_refused() -> None:
    with pytest.raises(NotArmedError):
        Walk().fit(make("simulated"))


def test_what_is_no_number_is_named_with_its_place() -> None:
    values = torch.zeros(2, 3)
    values[1, 2] = math.nan
    with pytest.raises(CalibrationError, match=r"forward: the chip returned nan at \[1, 2\]"):
        usable(values, "forward")


def test_findings_name_their_places() -> None:
    walk = Walk(way="down").fit(armed())
    assert [finding.kind for finding in walk.findings_] == ["low"]
    assert walk.findings_[0].as_dict()["places"] == [[place] for (place,) in walk.findings_[0].places]
    assert "low: did not move (" in str(walk.findings_[0])
