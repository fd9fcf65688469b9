import json
import signal
from pathlib import Path

import pytest
import torch

from rpudriver.cli.calibrate import common
from rpudriver.cli.main import main
from rpudriver.experiment.datasets import read_dataset

SMALL = ["--rows", "6", "--columns", "4", "--cycles", "1", "--points", "8", "--singles", "4", "--quiet"]


def command(out: Path, *more: str, backend: str = "simulated") -> list[str]:
    preset = ["--set", "preset=asymmetric-100", "--set", "seed=3"]
    return ["calibrate", "characterise", "--backend", backend, *preset, *SMALL, "--out", str(out), *more]


@pytest.mark.parametrize("backend", ["simulated", "reference"])
def test_a_folder_with_data_result_and_pictures(
    backend: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(tmp_path / "c", "--json", str(tmp_path / "r.json"), backend=backend)) == 0
    assert "characterise of 6 x 4 devices" in capsys.readouterr().out
    result = json.loads((tmp_path / "c/result.json").read_text())
    assert result == json.loads((tmp_path / "r.json").read_text())
    assert result["results"]["devices"] == 24
    assert result["results"]["population"]["dw_min"]["median"] == pytest.approx(0.012, rel=0.3)
    assert result["settings"]["cycles"] == 1
    data, record = read_dataset(tmp_path / "c/dataset.h5")
    assert record["complete"]
    assert data["estimate/dw_min"].shape == (6, 4)
    for name in ("characterisation.png", "noise.png"):
        assert (tmp_path / "c" / name).stat().st_size > 20_000


def test_ctrl_c_leaves_a_data_set_from_which_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(tmp_path / "whole")) == 0

    class Bar(common.Bar):
        def __call__(self, progress: object) -> None:
            if getattr(progress, "done", 0) == 9:
                signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patched:
        patched.setattr(common, "Bar", Bar)
        assert main(command(tmp_path / "c")) == 130
    assert "resume with: rpudriver" in capsys.readouterr().err
    data, record = read_dataset(tmp_path / "c/dataset.h5")
    assert not record["complete"]
    assert data["plan/done"] == 9
    assert main(command(tmp_path / "c", "--resume")) == 0
    whole, _ = read_dataset(tmp_path / "whole/dataset.h5")
    again, _ = read_dataset(tmp_path / "c/dataset.h5")
    assert torch.equal(whole["weights/value"], again["weights/value"])
    assert torch.equal(whole["estimate/dw_min"].nan_to_num(7.0), again["estimate/dw_min"].nan_to_num(7.0))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--points", "2"], "points = 2 must lie in"),
        (["--precision", "nan"], "precision"),
        (["--cycles", "0"], "cycles = 0"),
        (["--false-alarm", "0.9"], "false_alarm"),
        (["--set", "preset=asymetric-100"], "did you mean"),
        (["--rows", "100000"], "100000"),
        (["--threads", "0"], "--threads 0"),
        (["--resume"], "resume"),
        (["--backend", "simulatd"], "did you mean"),
        (["--json", "/dev/null/r.json"], "/dev/null"),
    ],
)
def test_bad_input_is_one_line_and_leaves_no_folder(
    more: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(tmp_path / "c", *more)) != 0
    error = capsys.readouterr().err
    assert words in error
    assert "Traceback" not in error
    assert not (tmp_path / "c/dataset.h5").exists()


def test_help_names_every_setting_and_file(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["calibrate", "characterise", "--help"])
    text = capsys.readouterr().out
    for word in ("--cycles", "--points", "--span", "--wait", "--precision", "--false-alarm", "noise.png", "examples:"):
        assert word in text
