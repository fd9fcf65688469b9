"""`rpudriver calibrate extract` as a user meets it."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from rpudriver.cli.main import main
from rpudriver.experiment.datasets import read_dataset
from rpudriver.experiment.training import train
from tests.experiment.test_training import small

CHIP = ["--set", "read.output_noise=0.06", "--set", "chip={rows = 12, columns = 20}", "--quiet"]


def extract(*words):
    return main(["calibrate", "extract", *map(str, words)])


@pytest.mark.parametrize("backend", ["simulated", "reference"])
def test_an_array_is_extracted_into_a_folder(tmp_path, capsys, backend):
    out = tmp_path / "w"
    assert extract("--backend", backend, *CHIP, "--out", out, "--target", "0.01", "--json", tmp_path / "r.json") == 0
    assert {path.name for path in out.iterdir()} >= {"config.toml", "dataset.h5", "result.json", "extraction.png"}
    result = json.loads((out / "result.json").read_text())
    assert result == json.loads((tmp_path / "r.json").read_text())
    assert result["results"]["reached"] is True
    assert result["results"]["standard_error"] <= 0.01
    assert [found["kind"] for found in result["findings"]] == ["no-response"]  # nothing was written
    data, record = read_dataset(out / "dataset.h5")
    assert record["complete"]
    assert data["extracted/weights"].shape == (12, 20)
    assert "finding: no-response" in capsys.readouterr().out


def test_a_run_becomes_a_digital_network(tmp_path, capsys):
    train(small("digits-ttv2"), tmp_path / "run")
    words = ["--run", tmp_path / "run", "--target", "0.01", "--quiet"]
    assert extract(*words, "--out", tmp_path / "net") == 0
    state = torch.load(tmp_path / "net/model.pt", weights_only=True)
    assert sorted(state) == ["0.bias", "0.weight", "2.bias", "2.weight"]
    assert "on its analog hardware" in capsys.readouterr().out
    assert extract(*words, "--out", tmp_path / "net") == 2
    assert "holds another run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--target", "0"], "target"),
        (["--reads", "3"], "at least 64"),
        (["--design", "orthogonal", "--amplitude", "7"], "amplitude = 7"),
        (["--reference-column", "20"], "columns 0 .. 19"),
        (["--data", "here"], "--data is for --run"),
        (["--run", "nowhere"], "--set"),
        (["--threads", "0"], "--threads"),
        (["--rows", "1000"], "1000 x 20"),
        (["--set", "preset=nothing"], "no device preset"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(tmp_path, capsys, words, says):
    assert extract(*CHIP, *words, "--out", tmp_path / "w") == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert not (tmp_path / "w").exists()


def test_a_run_brings_its_own_chip(tmp_path, capsys):
    for words in (["--rows", "3"], ["--backend", "reference"], ["--array", "fc1"]):
        assert extract("--run", tmp_path, *words, "--out", tmp_path / "w") == 2
        assert f"{words[0]}: chip and arrays follow from --run" in capsys.readouterr().err
    assert extract("--run", tmp_path, "--out", tmp_path / "w") == 2
    assert "config.toml" in capsys.readouterr().err


def test_help_names_every_setting(capsys):
    with pytest.raises(SystemExit):
        extract("--help")
    text = capsys.readouterr().out
    for flag in ("--target", "--reads", "--most", "--design", "--amplitude", "--reference-column", "--run", "--resume"):
        assert flag in text


def test_ctrl_c_leaves_a_usable_data_set_and_resume_goes_on_bit_for_bit(tmp_path):
    words = [*CHIP, "--reads", "40000"]
    assert extract(*words, "--out", tmp_path / "whole") == 0
    command = [sys.executable, "-m", "rpudriver.cli.main", "calibrate", "extract", *words, "--out", str(tmp_path / "w")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "w/config.toml").exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    if process.returncode == 0:
        pytest.skip("this machine was done before it could be interrupted")
    assert process.returncode == 130
    assert "resume with: rpudriver calibrate extract" in errors
    data, record = read_dataset(tmp_path / "w/dataset.h5")
    assert not record["complete"]
    assert 0 <= data["sums/vectors"] < 40000
    assert extract(*words, "--out", tmp_path / "w", "--resume") == 0
    one, other = (read_dataset(tmp_path / name / "dataset.h5")[0] for name in ("whole", "w"))
    assert torch.equal(one["extracted/weights"], other["extracted/weights"])
    assert os.listdir(tmp_path / "w")
