"""``rpudriver backends``: the list, the table of checks, exit codes and the JSON file."""

import json
from pathlib import Path
from typing import Any

import pytest

from rpudriver.backends.checker import check_names
from rpudriver.backends.simulated.options import SimulatorOptions
from rpudriver.cli import backends
from rpudriver.cli.main import main
from tests.backends.mutants import SignFlipped


def test_list_shows_where_backends_come_from(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["backends", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {"null", "reference", "simulated"} <= {line.split()[0] for line in lines}
    assert any("rpudriver.backends.simulated.backend:open_simulated" in line for line in lines)


def test_check_prints_a_table_and_writes_the_documented_keys(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "check.json"
    assert main(["backends", "check", "simulated", "--json", str(file)]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in check_names())
    assert "simulated keeps the contract" in shown
    data = json.loads(file.read_text())
    assert set(data) == {"backend", "passed", "seconds", "runs"}
    assert (data["backend"], data["passed"], len(data["runs"])) == ("simulated", True, len(backends.VARIANTS))
    for run in data["runs"]:
        assert set(run) == {"options", "passed", "counts", "checks"}
        assert [check["name"] for check in run["checks"]] == check_names()
        for check in run["checks"]:
            assert set(check) == {"name", "statement", "outcome", "detail", "likely_mistake", "seconds"}


def test_the_variants_cover_three_response_families() -> None:
    presets = [SimulatorOptions(**options).load()[0] for options in backends.VARIANTS]
    families = {preset.device.response.model_dump()["family"] for preset in presets}
    assert families == {"soft-bounds", "constant", "power"}


def test_set_replaces_keys_of_one_preset(tmp_path: Path) -> None:
    file = tmp_path / "check.json"
    arguments = ["--set", "seed=3", "--set", "device.c2c=0.5", "--only", "c2c-of-slots", "--json", str(file)]
    assert main(["backends", "check", "simulated", *arguments]) == 0
    (run,) = json.loads(file.read_text())["runs"]
    assert run["options"] == {"preset": "asymmetric-100", "seed": 3, "device": {"c2c": 0.5}}
    assert run["counts"] == {"passed": 1}


def test_a_broken_backend_exits_with_1_and_is_explained(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def make(name: str, **options: Any) -> SignFlipped:
        return SignFlipped()

    monkeypatch.setattr(backends, "make", make)
    file = tmp_path / "check.json"
    assert main(["backends", "check", "simulated", "--set", "seed=0", "--only", "polarity", "--json", str(file)]) == 1
    shown = capsys.readouterr().out
    assert "failed  polarity" in shown
    assert "likely mistake: The sign is flipped" in shown
    assert "simulated does not keep the contract" in shown
    assert json.loads(file.read_text())["passed"] is False


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["simulatd"], "did you mean 'simulated'"),
        (["simulated", "--only", "polarty"], "did you mean 'polarity'"),
        (["simulated", "--set", "presett=ecram"], "did you mean 'preset'"),
        (["simulated", "--set", "preset"], "not of the form"),
    ],
)
def test_bad_arguments_are_one_clean_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(["backends", "check", *arguments]) == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert len(shown.splitlines()) == 1
