import json
import os
import signal
import subprocess
import sys
import time

import matplotlib.image
import pytest
import torch

from rpudriver.cli import demo
from rpudriver.cli.main import COMMANDS, main
from rpudriver.experiment.checkpoints import newest_checkpoint
from rpudriver.experiment.config import load_config
from rpudriver.experiment.demo import Job

SMALL = ["--set", "training.epochs=1", "--set", "training.batch=128", "--set", "network.layers=[64, 6, 10]"]


def test_train_writes_everything(tmp_path, capsys):
    out, copy = tmp_path / "run", tmp_path / "copy" / "result.json"
    assert main(["train", "digits-ttv2", "--out", str(out), "--json", str(copy), "--quiet", *SMALL]) == 0
    printed = capsys.readouterr()
    assert "ttv2: " in printed.out
    assert printed.err == ""
    assert json.loads(copy.read_text()) == json.loads((out / "result.json").read_text())
    names = {path.name for path in out.iterdir()}
    assert names == {
        "config.toml", "metrics.jsonl", "checkpoints", "result.json", "learning_curve.png", "weights.png",
    }  # fmt: skip
    assert matplotlib.image.imread(out / "weights.png").shape[0] > 300


def test_train_shows_loss_and_accuracy(tmp_path, capsys):
    assert main(["train", "digits-digital", "--out", str(tmp_path), *SMALL, "--set", "training.epochs=2"]) == 0
    shown = capsys.readouterr().err
    assert "epoch 2/2" in shown
    assert "loss=" in shown
    assert "test=" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "algorithm.n_z=5"], "unknown key 'algorithm.n_z'; did you mean 'n_s'?"),
        (["--set", "algorithm"], "override 'algorithm' is not of the form key.path=value"),
        (["--set", "backend.device.dw_min=0"], "must be above 0"),
        (["--set", "backend.device.dw_min=1.2"], "at least 2 are needed"),
        (["--set", "backend.read.output_noise=-1"], "output_noise = -1"),
        (["--set", "algorithm.max_bl=9999"], "the chip takes trains of at most 1024"),
        (["--set", "data.name=mnist", "--data", "nowhere"], "nowhere is not a folder"),
        (["--set", "algorithm.max_bl=-1"], "algorithm.max_bl = -1: must be greater than"),
        (["--set", "backend.device.dw_min=1e-300"], "at most 1e+07 are possible; raise dw_min"),
        (["--set", "backend.device.response.famly=power"], "unknown key 'famly' of a soft-bounds response"),
        (["--set", "backend.device=5"], "device = 5: must be a table of keys"),
        (["--set", "backend.chip.transposed_reads=false"], "train with backward = 'shadow'"),
        (["--set", "training.backward=shaddow"], "training.backward = 'shaddow': must be 'transposed' or 'shadow'"),
        (
            ["--set", "training.backward=shadow", "--set", "training.shadow_every=0"],
            "shadow_every = 0: must be greater",
        ),
        (["--set", "training.shadow_every=5"], "training: shadow_every = 5 goes with backward = 'shadow'"),
        (["--set", "backend.chip={arrays=10,rows=4,columns=4}"], "10 arrays of 4 x 4; use a chip with more arrays"),
        (["--set", "network.layers=[64, 9999999999, 10]"], "network.layers.1 = 9999999999: must be less than"),
        (["--threads", "0"], "--threads 0: this machine has"),
        (["--threads", "99999"], "--threads 99999: this machine has"),
        (["--json", "."], ". is a folder; give the path of a file"),
        (["--resume"], "holds no run to resume"),
    ],
)
def test_errors_are_one_clean_line_and_nothing_is_written(tmp_path, capsys, arguments, message):
    assert main(["train", "digits-ttv2", "--out", str(tmp_path / "run"), *arguments]) == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert shown.startswith("rpudriver: error: ")
    assert shown.count("\n") == 1
    assert "Value error" not in shown
    assert not (tmp_path / "run").exists()


def test_a_run_that_cannot_start_leaves_other_files_alone(tmp_path):
    note = tmp_path / "note.txt"
    note.write_text("mine")
    bad = ["--set", "backend.chip.transposed_reads=false"]
    assert main(["train", "digits-ttv2", "--out", str(tmp_path), *bad]) == 2
    assert list(tmp_path.iterdir()) == [note]


def test_chip_options_without_a_chip_are_refused(tmp_path, capsys):
    arguments = ["--out", str(tmp_path / "run"), "--set", "backend.presett=ecram"]
    assert main(["train", "digits-digital", *arguments]) == 2
    assert "backend.presett = 'ecram': the algorithm 'digital' uses no chip" in capsys.readouterr().err


def test_a_shadow_without_a_chip_is_refused(tmp_path, capsys):
    arguments = ["--out", str(tmp_path / "run"), "--set", "training.backward=shadow"]
    assert main(["train", "digits-digital", *arguments]) == 2
    assert "training.backward = 'shadow': the algorithm 'digital' uses no chip" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_chip_without_transposed_reads_trains_and_the_summary_says_what_its_shadow_cost(tmp_path, capsys):
    one_way = ["--set", "backend.chip.transposed_reads=false", "--set", "training.backward=shadow"]
    assert main(["train", "digits-ttv2", "--out", str(tmp_path / "run"), "--quiet", *SMALL, *one_way]) == 0
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    share = 100 * result["shadow"]["reads"] / result["cost"]["reads"]
    shown = capsys.readouterr().out
    assert f"its shadow, read 2 times, took {share:.1f} % of reads, 0.0 % of chip time, " in shown  # 12 mini-batches


def test_a_config_that_is_a_folder_is_named(tmp_path, capsys):
    (tmp_path / "x.toml").mkdir()
    assert main(["train", str(tmp_path / "x.toml"), "--out", str(tmp_path / "run")]) == 2
    assert "cannot read config file" in capsys.readouterr().err


def test_too_little_memory_is_an_error_of_one_line(tmp_path, capsys, monkeypatch):
    def greedy(*arguments, **options):
        raise MemoryError("46 TiB")

    monkeypatch.setattr("rpudriver.cli.train.train_and_draw", greedy)
    assert main(["train", "digits-digital", "--out", str(tmp_path / "run")]) == 2
    assert "not enough memory (46 TiB)" in capsys.readouterr().err


def test_a_second_run_in_the_same_folder_is_refused(tmp_path, capsys):
    command = ["train", "digits-digital", "--out", str(tmp_path), "--quiet", *SMALL]
    assert main(command) == 0
    assert main(command) == 2
    assert "holds another run" in capsys.readouterr().err
    assert main([*command, "--resume"]) == 0  # it is complete: nothing is trained, the result is the same


def test_device_commands(tmp_path, capsys):
    assert main(["device", "list"]) == 0
    assert "asymmetric-100" in capsys.readouterr().out
    picture, numbers = tmp_path / "x.png", tmp_path / "x.json"
    assert main(["device", "plot", "asymmetric-100", "--out", str(picture), "--json", str(numbers)]) == 0
    assert matplotlib.image.imread(picture).shape[1] > 300
    found = json.loads(numbers.read_text())
    assert found["preset"] == "asymmetric-100"
    assert found["has_symmetry_point"]
    assert abs(found["resting_point"]["median"]) < 0.01  # d2d of the imbalance is 2 % of 0.6, over 400 devices
    assert main(["device", "plot", "ecramm", "--out", str(picture)]) == 2
    assert "did you mean 'ecram'" in capsys.readouterr().err
    assert main(["device", "plot", "ecram", "--out", str(tmp_path / "x.xyz")]) == 2
    assert "does not end like a picture" in capsys.readouterr().err


@pytest.mark.parametrize("command", [[], ["train"], ["demo"], ["device"], ["device", "plot"], ["backends"]])
def test_help_is_there(command, capsys):
    with pytest.raises(SystemExit) as caught:
        main([*command, "--help"])
    assert caught.value.code == 0
    assert "usage: rpudriver" in capsys.readouterr().out


# ---- signals --------------------------------------------------------------------------------------------------------


def start(arguments):
    command = [sys.executable, "-m", "rpudriver.cli.main", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def interrupt_when(process, path, number):
    """Send a signal as soon as a file is there; give the process a minute to get so far."""
    deadline = time.monotonic() + 60
    while not path.exists() or not path.stat().st_size:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(number)
    return process.communicate(timeout=60)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no POSIX signals")
@pytest.mark.parametrize(
    ("recipe", "name", "epochs", "test_fraction"),
    [("digits-ttv2", "SIGINT", 8, 0.9), ("digits-digital", "SIGTERM", 40, 0.5)],  # about two seconds either
)
def test_a_signal_saves_a_checkpoint_and_the_resumed_run_is_the_same(tmp_path, recipe, name, epochs, test_fraction):
    number = getattr(signal, name)
    settings = ["--quiet", "--set", f"training.epochs={epochs}", "--set", "network.layers=[64, 6, 10]"]
    settings += ["--set", "training.batch=8", "--set", f"data.test_fraction={test_fraction}"]
    parts, whole = tmp_path / "parts", tmp_path / "whole"
    process = start(["train", recipe, "--out", str(parts), *settings])
    _, said = interrupt_when(process, parts / "metrics.jsonl", number)
    assert process.returncode == 128 + number
    assert f"interrupted by {name}" in said
    assert f"resume with: rpudriver train {recipe} --out {parts} --set training.epochs={epochs}" in said
    assert not (parts / "result.json").exists()
    assert main(["train", recipe, "--out", str(parts), *settings, "--resume"]) == 0
    assert main(["train", recipe, "--out", str(whole), *settings]) == 0
    assert_same_files(parts, whole)


def assert_same_files(first, second):
    """Compare metrics and final checkpoints, weights and chip and all, but for the time they took."""
    for name in ("metrics.jsonl",):
        lines = [[json.loads(line) for line in (path / name).read_text().splitlines()] for path in (first, second)]
        for a, b in zip(*lines, strict=True):
            assert a | {"wall_time_s": 0} == b | {"wall_time_s": 0}
    states = [torch.load(newest_checkpoint(path / "checkpoints"), weights_only=True) for path in (first, second)]
    assert same(states[0]["model"], states[1]["model"])
    assert states[0]["position"]["epoch"] == states[1]["position"]["epoch"]


def same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


# ---- demo -----------------------------------------------------------------------------------------------------------


def test_demo_compares_and_resumes(tmp_path, capsys, monkeypatch):
    texts = [text for text in SMALL if text != "--set"]
    jobs = [
        Job("digital SGD", "digital", load_config("digits-digital", texts)),
        Job("analog SGD", "slow", load_config("digits-sgd", [*texts, "training.lr=0.01"])),
        Job("analog SGD", "fast", load_config("digits-sgd", [*texts, "training.lr=0.1"])),
    ]
    monkeypatch.setattr(demo, "plan_demo", lambda quick: jobs)
    out = tmp_path / "demo"
    assert main(["demo", "--out", str(out), "--jobs", "1"]) == 0
    printed = capsys.readouterr().out
    assert "digital SGD" in printed
    assert "best of 2" in printed
    result = json.loads((out / "result.json").read_text())
    assert set(result) == {"wall_time_s", "jobs", "quick", "best", "runs"}
    assert list(result["best"]) == ["digital SGD", "analog SGD"]
    tried = [result["runs"][name]["test_accuracy"] for name in ("slow", "fast")]
    assert result["best"]["analog SGD"]["test_accuracy"] == max(tried)
    assert result["best"]["analog SGD"]["tried_lr"] == [0.01, 0.1]
    assert matplotlib.image.imread(out / "comparison.png").shape[0] > 300
    assert main(["demo", "--out", str(out)]) == 2
    assert "is not an empty folder" in capsys.readouterr().err
    (out / "slow" / "result.json").unlink()
    assert main(["demo", "--out", str(out), "--jobs", "1", "--resume", "--quiet"]) == 0
    again = json.loads((out / "result.json").read_text())
    assert again["runs"]["slow"]["curve"] == result["runs"]["slow"]["curve"]


def test_help_does_not_wait_for_torch():
    script = "import sys; from rpudriver.cli import main; main.build_parser(['--help']); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout == "False\n"


def test_every_command_tells_what_it_does():
    for name in COMMANDS:
        shown = subprocess.run(
            [sys.executable, "-m", "rpudriver.cli.main", name, "--help"], capture_output=True, text=True
        )
        assert shown.returncode == 0
        assert len(shown.stdout.splitlines()) > 8, name
