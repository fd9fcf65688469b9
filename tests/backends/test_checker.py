"""The conformance suite passes our chips and catches every broken one by the check that names its fault."""

import pytest
import torch

from rpudriver.backends.base import CrossbarBackend
from rpudriver.backends.checker import check_backend, check_names
from rpudriver.backends.registry import make
from rpudriver.errors import ConfigError, UnsupportedError
from rpudriver.types import Array
from tests.backends.mutants import MUTANTS, Mutant
from tests.backends.sound import Sound


@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_mutant_is_caught_by_the_check_that_names_it(mutant: Mutant) -> None:
    report = check_backend(mutant.backend, only=[mutant.caught_by])  # type: ignore[arg-type]
    assert report.names("failed") == [mutant.caught_by]
    (result,) = report.results
    assert result.detail
    assert result.likely_mistake
    assert not report.passed


def test_the_chip_that_mutants_are_made_from_passes_every_check() -> None:
    report = check_backend(Sound)
    assert report.names("passed") == check_names(), str(report)


def test_reference_passes_every_check() -> None:
    report = check_backend(lambda: make("reference", preset="asymmetric-100"))
    assert report.names("passed") == check_names(), str(report)


RESPONSES = {
    "power": {"family": "power", "tau": {"mean": 0.6, "d2d": 0.1}, "gamma": 1.2},
    "exponential": {"family": "exponential", "tau": {"mean": 0.6, "d2d": 0.1}, "gamma": 0.8},
    "measured": {
        "family": "measured",
        "w": [-0.6, 0, 0.6],
        "dw_up": [0.015, 0.012, 0.0],
        "dw_down": [0.0, 0.012, 0.015],
    },
    "constant": {"family": "constant"},
}


@pytest.mark.parametrize("family", RESPONSES)
def test_simulated_passes_with_every_response(family: str) -> None:
    report = check_backend(
        lambda: make("simulated", preset="asymmetric-100", device={"response": RESPONSES[family]}, seed=5)
    )
    assert report.names("passed") == check_names(), str(report)


@pytest.mark.parametrize(
    ("preset", "skipped"),
    [
        ("idealised", {"output-noise-fresh", "sum-noise", "c2c-of-slots", "c2c-of-samples", "c2c-of-repeats"}),
        ("reram-array", {"kinds-declared", "c2c-of-slots", "c2c-of-samples", "c2c-of-repeats"}),
    ],
)
def test_what_a_preset_hides_is_skipped_with_the_reason(preset: str, skipped: set[str]) -> None:
    report = check_backend(lambda: make("simulated", preset=preset))
    assert report.passed, str(report)
    assert set(report.names("skipped")) == skipped
    assert all(result.detail for result in report.results if result.outcome == "skipped")


def test_a_chip_with_little_passes_what_it_has() -> None:
    chip = {"rows": 10, "columns": 8, "transposed_reads": False, "summed_reads": False, "longest_bl": 1}
    report = check_backend(lambda: make("simulated", preset="asymmetric-100", chip=chip | {"output_bound": 2.0}))
    assert report.passed, str(report)
    assert {"coincidences-shared", "every-word-counts"} <= set(report.names("skipped"))
    assert "transposed-read" in report.names("passed")  # refused, as declared


def test_null_backend_fails_honestly() -> None:
    report = check_backend(lambda: make("null"), only=["read-orientation", "cost-counted", "limits-honoured"])
    assert report.names("failed") == ["read-orientation"]  # nothing that it is told to move is seen to move


class NoSnapshots(Sound):
    def _save(self, array: Array) -> dict[str, torch.Tensor]:
        raise UnsupportedError("a real chip does not know its state")


def test_chip_without_snapshots_skips_them() -> None:
    names = [
        "snapshot-restored",
        "snapshot-frozen",
        "snapshot-saved",
        "restore-continues",
        "same-seed",
        "grouping-free",
    ]
    report = check_backend(NoSnapshots, only=names)
    assert report.names("skipped") == names
    assert not report.passed  # nothing was shown


class OpensClosed(Sound):
    opened = 0

    def __init__(self) -> None:
        super().__init__()
        OpensClosed.opened += 1

    def close(self) -> None:
        if not self._state.closed:
            OpensClosed.opened -= 1
        super().close()


def test_never_more_than_one_chip_is_open() -> None:
    most = 0

    def open_one() -> CrossbarBackend:
        nonlocal most
        chip = OpensClosed()
        most = max(most, OpensClosed.opened)
        return chip

    check_backend(open_one, only=["same-seed", "snapshot-saved", "polarity"])
    assert (most, OpensClosed.opened) == (1, 0)


def test_noise_beyond_measure_is_skipped_with_the_reads_it_needs() -> None:
    chip = {"output_bound": 1000.0, "output_bits": None}
    report = check_backend(
        lambda: make("simulated", preset="asymmetric-100", read={"output_noise": 5.0}, chip=chip), only=["polarity"]
    )
    (result,) = report.results
    assert result.outcome == "skipped"
    # (5 / (1.2 / 40))^2 repeats of 8 columns
    assert f"needs {8 * 27778} reads" in result.detail


def test_unknown_check_is_refused_with_a_suggestion() -> None:
    with pytest.raises(ConfigError, match="did you mean 'polarity'"):
        check_backend(Sound, only=["polarty"])


def test_report_as_plain_data() -> None:
    report = check_backend(Sound, only=["polarity", "read-shapes"])
    data = report.as_dict()
    assert data["passed"] is True
    assert data["counts"] == {"passed": 2}
    assert [check["name"] for check in data["checks"]] == ["read-shapes", "polarity"]
    assert "2 passed, 0 failed, 0 skipped" in str(report)
