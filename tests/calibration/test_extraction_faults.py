"""Faults of a chip are named, and what is found beside them is right."""

from dataclasses import replace

import pytest
import torch

from rpudriver.calibration.extraction import Extract
from rpudriver.errors import CalibrationError
from rpudriver.types import ReadResult
from tests.calibration.arrays import damaged, holding, normal, with_values

TRUTH = normal(24, 20, 0.3)


def kinds(found: Extract) -> dict[str, list[int]]:
    return {finding.kind: [place[0] for place in finding.places] for finding in found.findings_}


def close(found: Extract, truth: torch.Tensor = TRUTH, rows: slice = slice(None)) -> bool:
    z = ((found.weights_ - truth) / found.error_)[rows]
    return float(z.abs().max()) < 5 and 0.8 < float(z.square().mean()) < 1.2


def test_a_sound_chip_has_no_findings() -> None:
    found = Extract(target=0.004).fit(*holding(TRUTH))
    assert found.findings_ == ()
    assert close(found)


def test_a_dead_column() -> None:
    truth = TRUTH.clone()
    truth[:, 7] = 0.0
    found = Extract(target=0.004).fit(*holding(truth))
    assert kinds(found) == {"dead-column": [7]}
    assert close(found, truth)


def test_an_output_that_never_responds() -> None:
    def stuck(values: torch.Tensor) -> torch.Tensor:
        values[:, 3] = 0.75
        return values

    found = Extract(target=0.004).fit(*damaged(TRUTH, with_values(stuck)))
    assert kinds(found) == {"dead-output": [3]}
    assert float(found.weights_[3].abs().max()) < 1e-6
    assert abs(float(found.offset_[3]) - 0.75) < 1e-6


def test_an_array_without_weights() -> None:
    found = Extract(target=0.004).fit(*holding(torch.zeros(24, 20)))
    assert kinds(found) == {"no-response": []}


def test_an_output_that_is_always_at_its_bound_is_not_told() -> None:
    def stuck(result: ReadResult, _: torch.Tensor) -> ReadResult:
        values, flags = result.values.clone(), result.saturated.clone()
        values[:, 5], flags[:, 5] = 12.0, True
        return ReadResult(values, flags)

    found = Extract(target=0.004).fit(*damaged(TRUTH, stuck))
    assert kinds(found) == {"saturated-output": [5]}
    assert bool(found.weights_[5].isnan().all())
    assert bool(found.error_[5].isinf().all())
    others = torch.arange(24) != 5
    z = ((found.weights_ - TRUTH) / found.error_)[others]
    assert 0.8 < float(z.square().mean()) < 1.2
    assert found.summary()["reached"] is True  # of what can be told


def test_offsets_and_gains_of_outputs() -> None:
    offset, gain = torch.linspace(-3, 3, 24), torch.linspace(0.8, 1.2, 24)
    truth = TRUTH.clone()
    truth[:, 0] = 0.5
    found = Extract(target=0.002, reference_column=0, reference_weight=0.5).fit(
        *damaged(truth, with_values(lambda values: values * gain + offset))
    )
    assert found.findings_ == ()
    assert close(found, truth * gain[:, None])  # the effective matrix
    assert float((found.offset_ - offset).abs().max()) < 0.02
    assert found.gain_ is not None
    assert float(((found.gain_.gain - gain) / found.gain_.gain_error).abs().max()) < 4.5
    z = ((found.gain_.weights - truth) / found.gain_.error)[:, 1:]
    # the error of a gain is shared by its row: 24 independent parts, an rms good to 15 %
    assert 0.5 < float(z.square().mean()) < 1.6
    assert found.summary()["weights"] == "effective and absolute"


def test_a_reference_column_that_does_not_respond_tells_no_gain() -> None:
    truth = TRUTH.clone()
    truth[:2, 0] = 0.0
    truth[2:, 0] = 0.5
    found = Extract(target=0.004, reference_column=0, reference_weight=0.5).fit(*holding(truth))
    assert kinds(found)["no-gain"] == [0, 1]
    assert found.gain_ is not None
    assert bool(found.gain_.weights[:2].isnan().all())
    assert close(found, truth)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_no_number_is_an_error_with_its_place(bad: float) -> None:
    def broken(values: torch.Tensor) -> torch.Tensor:
        values[-1, 2] = bad
        return values

    with pytest.raises(CalibrationError, match=r"array 'W'.*returned (nan|inf) at \[\d+, 2\]"):
        Extract().fit(*damaged(TRUTH, with_values(broken)))


def test_outputs_that_are_not_linear() -> None:
    found = Extract(target=0.004).fit(*damaged(TRUTH, with_values(lambda y: 3 * torch.tanh(y / 3))))
    assert "not-linear" in kinds(found)


def test_weights_that_move_while_they_are_read() -> None:
    chip, array = holding(TRUTH)

    def moving(result: ReadResult, x: torch.Tensor) -> ReadResult:
        moving.seen += len(x)  # type: ignore[attr-defined]
        return replace(result, values=result.values * (1 + moving.seen / 500))  # type: ignore[attr-defined]

    moving.seen = 0  # type: ignore[attr-defined]
    chip, array = damaged(TRUTH, moving)
    assert "not-linear" in kinds(Extract(reads=512).fit(chip, array))


def test_saturation_without_a_declared_bound_is_an_error() -> None:
    def flagged(result: ReadResult, _: torch.Tensor) -> ReadResult:
        return replace(result, saturated=result.values > 1.5)

    chip, array = damaged(TRUTH, flagged, output_bound=0, output_bits=0)
    with pytest.raises(CalibrationError, match="declares no output bound"):
        Extract(reads=64).fit(chip, array)
