import json
import signal
from pathlib import Path

import pytest
import torch

from rpudriver.backends.registry import make
from rpudriver.cli.calibrate import common
from rpudriver.cli.main import main
from rpudriver.experiment.datasets import read_dataset, write_dataset

CHIP = ["--set", "preset=asymmetric-100", "--set", "seed=3"]
QUICK = ["--family", "soft-bounds", "--fit-devices", "100", "--permutations", "99", "--quiet"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("characterised") / "chip"
    small = ["--rows", "12", "--columns", "10", "--cycles", "2", "--points", "12", "--wait", "0", "--quiet"]
    assert main(["calibrate", "characterise", *CHIP, *small, "--out", str(out)]) == 0
    return out / "dataset.h5"


def twin(dataset: Path, out: Path, *more: str) -> int:
    return main(["calibrate", "twin", "--dataset", str(dataset), "--out", str(out), *QUICK, *more])


@pytest.mark.parametrize("backend", ["simulated", "reference"])
def test_it_is_fitted_judged_and_trained_on(
    backend: str, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "copy.json"
    assert twin(dataset, tmp_path / "t", "--backend", backend, *CHIP, "--json", str(copy)) == 0
    assert "the twin does what the chip does: p = 0." in capsys.readouterr().out
    result = json.loads((tmp_path / "t/result.json").read_text())
    assert json.loads(copy.read_text()) == result
    results = result["results"]
    assert results["judgement"]["p"] > 0.05
    assert results["judgement"]["devices"] == 120
    assert results["probe"]["pulses_per_device"] == 920
    assert (result["rows"], result["columns"], result["array"]) == (12, 10, "characterise")
    low, high = results["twin"]["parameters"]["dw_min"]["interval"]
    assert low < 0.012 < high
    data, record = read_dataset(tmp_path / "t/dataset.h5")
    assert data["reads"].shape == data["twin/reads"].shape == (15, 12, 10)
    assert record["complete"]
    assert (tmp_path / "t/twin.png").stat().st_size > 20_000
    run = [
        "train",
        "digits-ttv2",
        "--set",
        f"backend.preset={tmp_path / 't/twin.toml'}",
        "--out",
        str(tmp_path / "run"),
    ]
    small = ["--set", "training.epochs=1", "--set", "network.layers=[64, 6, 10]", "--quiet"]
    assert main([*run, *small]) == 0


def test_a_chip_that_has_changed_is_told_from_the_twin(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = ["--set", "device.up_down=0.2"]
    assert twin(dataset, tmp_path / "t", "--backend", "simulated", *CHIP, *changed) == 0
    assert "the twin differs from the chip: p = 0.010" in capsys.readouterr().out


def test_without_a_chip_it_is_fitted_only(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert twin(dataset, tmp_path / "t") == 0
    assert "not judged" in capsys.readouterr().out
    result = json.loads((tmp_path / "t/result.json").read_text())
    assert set(result["results"]) == {"twin"}
    preset = str(tmp_path / "t/twin.toml")
    assert make("simulated", preset=preset).capabilities.device.dw_min == pytest.approx(0.012, rel=0.1)
    assert (tmp_path / "t/twin.png").stat().st_size > 20_000


def test_an_interrupted_judgement_goes_on(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Bar(common.Bar):
        def __call__(self, progress: object) -> None:
            if getattr(progress, "done", 0) == 6:
                signal.raise_signal(signal.SIGINT)

    chip = ["--backend", "simulated", *CHIP]
    with monkeypatch.context() as patched:
        patched.setattr(common, "Bar", Bar)
        assert twin(dataset, tmp_path / "t", *chip) == 130
    assert "resume with: rpudriver" in capsys.readouterr().err
    data, record = read_dataset(tmp_path / "t/dataset.h5")
    assert (data["done"], record["complete"]) == (6, False)
    assert twin(dataset, tmp_path / "t", *chip, "--seed", "1", "--resume") == 2
    assert twin(dataset, tmp_path / "t", *chip, "--resume") == 0
    assert twin(dataset, tmp_path / "whole", *chip) == 0
    again, _ = read_dataset(tmp_path / "t/dataset.h5")
    whole, _ = read_dataset(tmp_path / "whole/dataset.h5")
    assert torch.equal(again["reads"], whole["reads"])
    found = [json.loads((tmp_path / name / "result.json").read_text())["results"] for name in ("t", "whole")]
    assert found[0]["judgement"] == found[1]["judgement"]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--dataset", "missing.h5"], "no data set"),
        (["--set", "preset=ecram"], "name it with --backend"),
        (["--backend", "simulatd"], "did you mean"),
        (["--backend", "simulated", "--rows", "13", "--columns", "100000"], "100000"),
        (["--fit-devices", "3"], "--fit-devices 3 must be at least 50"),
        (["--devices", "3"], "--devices 3 must be at least 20"),
        (["--permutations", "0"], "--permutations 0"),
        (["--threads", "0"], "--threads 0"),
        (["--backend", "simulated", "--states", "1"], "states = 1"),
        (["--resume"], "no run to resume"),
        (["--json", "/dev/null/r.json"], "/dev/null"),
    ],
)
def test_bad_input_is_one_line_and_leaves_no_folder(
    more: list[str], words: str, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert twin(dataset, tmp_path / "t", *more) == 2
    error = capsys.readouterr().err
    assert words in error
    assert "Traceback" not in error
    assert not (tmp_path / "t").exists()


def test_a_data_set_of_another_kind_or_incomplete_is_refused(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, record = read_dataset(dataset)
    write_dataset(tmp_path / "half.h5", data, record, complete=False)
    write_dataset(tmp_path / "other.h5", {"reads": torch.zeros(3)}, record, complete=True)
    for name, words in (("half", "incomplete"), ("other", "no characterisation")):
        assert twin(tmp_path / f"{name}.h5", tmp_path / "t") == 2
        assert words in capsys.readouterr().err
    assert twin(dataset, dataset.parent) == 2
    assert "holds another run" in capsys.readouterr().err
