import json
import tomllib

import pytest
import torch

import rpudriver.experiment.checkpoints
from rpudriver.backends.simulated.backend import SimulatedBackend
from rpudriver.errors import CheckpointError, ConfigError, OutputError
from rpudriver.experiment.checkpoints import newest_checkpoint
from rpudriver.experiment.config import load_config
from rpudriver.experiment.interruption import Interrupted
from rpudriver.experiment.training import train

SMALL = ["training.epochs=2", "training.batch=64", "network.layers=[64, 6, 10]", "data.test_fraction=0.5"]
PER_EPOCH = 15  # mini-batches: 899 images by 64, rounded up


def small(recipe="digits-sgd", *overrides):
    return load_config(recipe, [*SMALL, *overrides])


class StopAt:
    """Asks a run to stop after a number of mini-batches."""

    def __init__(self, batches):
        self.batches, self.seen = batches, 0

    def report(self, progress):
        self.seen = progress.done

    def __call__(self):
        return 15 if self.seen >= self.batches else None


def train_in_pieces(config, out, stops):
    for number, stop in enumerate(stops):
        request = StopAt(stop)
        with pytest.raises(Interrupted):
            train(config, out, resume=number > 0, report=request.report, stop=request)
    return train(config, out, resume=True)


def flatten(state, path=""):
    """Yield every number, text and tensor of a nested state."""
    if isinstance(state, dict):
        for key, value in state.items():
            yield from flatten(value, f"{path}.{key}")
    elif isinstance(state, list | tuple):
        for number, value in enumerate(state):
            yield from flatten(value, f"{path}[{number}]")
    else:
        yield path, state


def assert_same_state(first, second):
    pairs = list(zip(flatten(first), flatten(second), strict=True))
    assert len(pairs) > 3
    for (path, a), (other, b) in pairs:
        assert path == other
        assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b, path


def without_times(records):
    return [{key: value for key, value in record.items() if key != "wall_time_s"} for record in records]


@pytest.mark.parametrize("recipe", ["digits-digital", "digits-sgd", "digits-tiki-taka", "digits-ttv2"])
def test_an_interrupted_run_equals_an_uninterrupted_one_bit_for_bit(tmp_path, recipe):
    config = small(recipe)
    whole = train(config, tmp_path / "whole")
    stops = [1, 7, PER_EPOCH, PER_EPOCH + 4]  # in the middle, again in the middle, between epochs, in the second
    parts = train_in_pieces(config, tmp_path / "parts", stops)
    assert_same_state(whole.model.state_dict(), parts.model.state_dict())
    assert without_times(whole.result["curve"]) == without_times(parts.result["curve"])
    assert without_times([whole.result | {"curve": None}]) == without_times([parts.result | {"curve": None}])
    lines = [json.loads(line) for line in (tmp_path / "parts" / "metrics.jsonl").read_text().splitlines()]
    assert without_times(lines) == without_times(whole.result["curve"])


def test_learnable_scales_and_momentum_free_digital_parts_resume_too(tmp_path):
    config = small(
        "digits-ttv2", "scaling.learnable=true", "scaling.columnwise=true", "network.bias=digital",
        "training.digital_lr=0.05", "training.halve_every=1",
    )  # fmt: skip
    whole = train(config, tmp_path / "whole")
    parts = train_in_pieces(config, tmp_path / "parts", [3, PER_EPOCH + 2])
    assert_same_state(whole.model.state_dict(), parts.model.state_dict())
    assert [record["lr"] for record in whole.result["curve"]] == [config.training.lr, config.training.lr / 2]


def test_the_folder_holds_what_is_documented(tmp_path):
    config = small("digits-ttv2", "training.epochs=3")
    run = train(config, tmp_path / "run")
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result == run.result
    assert set(result) == {
        "algorithm", "test_accuracy", "test_loss", "epochs", "seed", "wall_time_s", "cost", "curve", "data", "backend",
        "versions",
    }  # fmt: skip
    assert result["algorithm"] == "ttv2"
    assert set(result["cost"]) == {"samples", "line_pulses", "coincidences", "reads", "chip_time_s", "energy_j"}
    assert all(value > 0 for value in result["cost"].values())
    assert result["test_accuracy"] == result["curve"][-1]["test_accuracy"]
    assert [record["epoch"] for record in result["curve"]] == [1, 2, 3]
    assert result["backend"]["preset"] == "asymmetric-100"
    assert tomllib.loads((tmp_path / "run" / "config.toml").read_text())["algorithm"]["hysteresis"] == 0.0
    assert len(list((tmp_path / "run" / "checkpoints").iterdir())) == 2  # rotated, and no temporary file left
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 3


def test_digital_training_learns(tmp_path):
    config = load_config("digits-digital", ["training.epochs=5"])
    result = train(config, tmp_path / "run").result
    assert result["test_accuracy"] > 0.85
    assert result["cost"] is None
    assert result["backend"] is None


def test_the_chip_is_idle_afterwards_and_after_an_interruption(tmp_path, monkeypatch):
    closed = []
    close = SimulatedBackend.close
    monkeypatch.setattr(SimulatedBackend, "close", lambda chip: (close(chip), closed.append(chip.status().armed)))
    train(small(), tmp_path / "whole")
    assert closed == [False]
    request = StopAt(2)
    with pytest.raises(Interrupted) as caught:
        train(small(), tmp_path / "part", report=request.report, stop=request)
    assert closed == [False, False]
    assert caught.value.exit_code == 143


def test_a_folder_with_another_run_is_refused_and_left_alone(tmp_path):
    train(small(), tmp_path / "run")
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    with pytest.raises(OutputError, match="holds another run; go on with --resume or choose another folder"):
        train(small(), tmp_path / "run")
    with pytest.raises(OutputError, match=r"belongs to another config .*lr = "):
        train(small("digits-sgd", "training.lr=0.3"), tmp_path / "run", resume=True)
    with pytest.raises(OutputError, match="holds no run to resume"):
        train(small(), tmp_path / "nothing", resume=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot use"):
        train(small(), tmp_path / "file")
    assert before == {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}


def test_nothing_is_written_when_an_option_is_bad(tmp_path):
    for override in ("backend.device.dw_min=0", "algorithm.max_bl=5000", "network.layers=[63, 10]"):
        with pytest.raises(ConfigError):
            train(small("digits-sgd", override), tmp_path / "run")
        assert not (tmp_path / "run").exists()


@pytest.fixture
def interrupted(tmp_path):
    """A run that stopped after three mini-batches: its config and folder."""
    config, request = small("digits-ttv2"), StopAt(3)
    with pytest.raises(Interrupted):
        train(config, tmp_path / "run", report=request.report, stop=request)
    return config, tmp_path / "run"


def rewrite(folder, **changes):
    path = newest_checkpoint(folder / "checkpoints")
    torch.save(torch.load(path, weights_only=True) | changes, path)
    return path


def test_a_checkpoint_of_another_version_is_refused(interrupted, monkeypatch):
    config, folder = interrupted
    monkeypatch.setattr(rpudriver.experiment.checkpoints, "__version__", "99.0")
    with pytest.raises(CheckpointError, match=r"was written by rpudriver .*; this is 99\.0"):
        train(config, folder, resume=True)


@pytest.mark.parametrize("key", ["config", "data"])
def test_a_checkpoint_of_another_run_is_refused(interrupted, key):
    config, folder = interrupted
    rewrite(folder, **{key: "something else"})
    with pytest.raises(CheckpointError, match=f"belongs to another {key}: it has 'something else'"):
        train(config, folder, resume=True)


def test_a_checkpoint_of_another_preset_is_refused(tmp_path):
    """The preset's file changed between the two halves of a run: its name is the same, the devices are not."""
    preset = tmp_path / "mine.toml"
    text = 'source = "test"\n[device]\nresponse = { family = "soft-bounds" }\ndw_min = 0.01\nw_max = 1\nw_min = -1\n'
    preset.write_text(text)
    config, request = small("digits-sgd", f"backend.preset='{preset}'"), StopAt(3)
    with pytest.raises(Interrupted):
        train(config, tmp_path / "run", report=request.report, stop=request)
    preset.write_text(text.replace("0.01", "0.02"))
    with pytest.raises(CheckpointError, match=r"mine\.toml"):
        train(config, tmp_path / "run", resume=True)


@pytest.mark.parametrize("damage", [lambda raw: raw[: len(raw) // 2], lambda raw: b"", lambda raw: b"not a checkpoint"])
def test_a_damaged_checkpoint_is_named(interrupted, damage):
    config, folder = interrupted
    path = newest_checkpoint(folder / "checkpoints")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CheckpointError, match=r"step-0+3\.pt is not a checkpoint or is damaged"):
        train(config, folder, resume=True)


def test_a_run_stopped_before_its_first_checkpoint_starts_anew(interrupted, tmp_path):
    config, folder = interrupted
    newest_checkpoint(folder / "checkpoints").unlink()
    parts, whole = train(config, folder, resume=True), train(config, tmp_path / "whole")
    assert_same_state(whole.model.state_dict(), parts.model.state_dict())
