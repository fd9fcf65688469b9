import json
import signal
from pathlib import Path

import pytest
import torch

from rpudriver.cli.calibrate import common
from rpudriver.cli.main import main
from rpudriver.experiment.datasets import read_dataset

COMMANDS = ["zero-shift", "zero-shift-response"]
SMALL = ["--rows", "6", "--columns", "5", "--quiet"]


def command(name: str, out: Path, *more: str, backend: str = "simulated") -> list[str]:
    preset = ["--set", "preset=asymmetric-100", "--set", "seed=3", "--set", "device.up_down_d2d=0.2"]
    return ["calibrate", name, "--backend", backend, *preset, *SMALL, "--out", str(out), *more]


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("backend", ["simulated", "reference"])
def test_a_folder_with_data_result_and_picture(
    name: str, backend: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(name, tmp_path / "z", "--json", str(tmp_path / "r.json"), backend=backend)) == 0
    assert f"{name} of 6 x 5 devices" in capsys.readouterr().out
    result = json.loads((tmp_path / "z/result.json").read_text())
    assert result == json.loads((tmp_path / "r.json").read_text())
    found = result["results"]
    assert found["live"] + sum(len(each["places"]) for each in result["findings"] if "stuck" in each["kind"]) == 30
    assert found["points"]["sd"] > 0.06  # before; 30 devices of 0.12
    assert found["residual"]["median"] < 0.03  # after, with the noise of the verification
    data, record = read_dataset(tmp_path / "z/dataset.h5")
    assert record["complete"]
    assert data["phase"] == "done"
    assert (tmp_path / "z/zero-shift.png").stat().st_size > 20_000


@pytest.mark.parametrize("name", COMMANDS)
def test_digital_points_need_no_reference_devices(name: str, tmp_path: Path) -> None:
    assert main(command(name, tmp_path / "z", "--reference", "digital", "--verify", "0", "--no-rest")) == 0
    found = json.loads((tmp_path / "z/result.json").read_text())["results"]
    assert "reference" not in found["vectors"]
    assert "residual" not in found


@pytest.mark.parametrize("name", COMMANDS)
def test_ctrl_c_leaves_a_data_set_from_which_it_goes_on(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(name, tmp_path / "whole")) == 0
    calls = []

    class Bar(common.Bar):
        def __call__(self, progress: object) -> None:
            calls.append(progress)
            if len(calls) == 7:
                signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patched:
        patched.setattr(common, "Bar", Bar)
        assert main(command(name, tmp_path / "z")) == 130
    assert "resume with: rpudriver" in capsys.readouterr().err
    assert not read_dataset(tmp_path / "z/dataset.h5")[1]["complete"]
    assert main(command(name, tmp_path / "z", "--resume")) == 0
    whole, _ = read_dataset(tmp_path / "whole/dataset.h5")
    again, _ = read_dataset(tmp_path / "z/dataset.h5")
    assert torch.equal(whole["found/points"], again["found/points"])
    assert torch.equal(whole["verify/b/points"], again["verify/b/points"])


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--pulses", "-1"], "pulses = -1 must lie in"),
        (["--verify", "-3"], "verify = -3"),
        (["--precision", "nan"], "precision"),
        (["--spread", "0"], "spread = 0.0 must lie in"),
        (["--rounds", "0"], "rounds = 0"),
        (["--set", "preset=asymetric-100"], "did you mean"),
        (["--rows", "100000"], "100000"),
        (["--rows", "0"], "0"),
        (["--resume"], "resume"),
        (["--backend", "simulatd"], "did you mean"),
    ],
)
def test_bad_input_is_one_line_and_leaves_no_folder(
    more: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command("zero-shift-response", tmp_path / "z", *more)) != 0
    error = capsys.readouterr().err
    assert words in error
    assert "Traceback" not in error
    assert not (tmp_path / "z/dataset.h5").exists()


@pytest.mark.parametrize("name", COMMANDS)
def test_help_names_files_and_settings(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["calibrate", name, "--help"])
    text = capsys.readouterr().out
    for word in ("dataset.h5", "zero-shift.png", "--reference", "--verify", "--pulses", "examples:"):
        assert word in text
