import json
import signal
from pathlib import Path

import pytest
import torch

from rpudriver.backends.base import CrossbarBackend
from rpudriver.backends.registry import make
from rpudriver.calibration.procedure import Progress
from rpudriver.errors import CheckpointError, DataError, OutputError
from rpudriver.experiment.datasets import read_dataset, write_dataset
from rpudriver.experiment.interruption import Interrupted
from rpudriver.experiment.measurement import MeasurementFolder
from tests.calibration.walk import Walk

CONFIG = 'procedure = "walk"\n'


def armed() -> CrossbarBackend:
    chip = make("simulated", preset="asymmetric-100", seed=3, chip={"rows": 6, "columns": 4})
    chip.arm()
    return chip


def folder(path: Path, resume: bool = False, stop_after: int = 0, config: str = CONFIG) -> MeasurementFolder:
    seen: list[Progress] = []
    return MeasurementFolder(
        path, config, resume, seen.append, lambda: signal.SIGINT if len(seen) == stop_after else None
    )


def test_an_interrupted_measurement_goes_on_bit_for_bit(tmp_path: Path) -> None:
    whole = Walk().fit(armed())
    with pytest.raises(Interrupted):
        Walk().fit(armed(), journal=folder(tmp_path / "m", stop_after=2))
    data, record = read_dataset(tmp_path / "m/dataset.h5")  # usable in the meantime
    assert torch.equal(data["reads"][:2], whole.data_["reads"][:2])
    assert (data["done"], record["complete"]) == (2, False)
    journal = folder(tmp_path / "m", resume=True)
    resumed = Walk().fit(armed(), journal=journal)
    assert torch.equal(resumed.data_["reads"], whole.data_["reads"])
    assert resumed.record_.cost == whole.record_.cost
    result = journal.finish(resumed)
    assert json.loads((tmp_path / "m/result.json").read_text()) == result
    data, record = read_dataset(tmp_path / "m/dataset.h5")
    assert torch.equal(data["reads"], whole.data_["reads"])
    assert record["complete"]
    assert record["cost"] == whole.record_.cost


def test_another_measurement_is_not_resumed_or_overwritten(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        Walk().fit(armed(), journal=folder(tmp_path / "m", stop_after=1))
    with pytest.raises(OutputError, match="holds another run"):
        folder(tmp_path / "m")
    with pytest.raises(OutputError, match="another config"):
        folder(tmp_path / "m", resume=True, config='procedure = "run"\n')
    with pytest.raises(OutputError, match="no run to resume"):
        folder(tmp_path / "empty", resume=True)
    other = make("simulated", preset="asymmetric-100", seed=4, chip={"rows": 6, "columns": 4})
    other.arm()
    with pytest.raises(CheckpointError, match="open the chip with the same"):
        Walk().fit(other, journal=folder(tmp_path / "m", resume=True))


def test_data_sets_keep_what_they_are_given(tmp_path: Path) -> None:
    data = {"a/large": torch.arange(5000.0).view(50, 100), "a/flags": torch.tensor([True, False]), "n": 3, "t": "text"}
    write_dataset(tmp_path / "d.h5", data, {"seed": 1}, complete=True)
    read, record = read_dataset(tmp_path / "d.h5")
    assert record == {"seed": 1, "complete": True}
    assert {"n": 3, "t": "text"}.items() <= read.items()
    for name in ("a/large", "a/flags"):
        assert torch.equal(read[name], data[name])  # type: ignore[arg-type]
    (tmp_path / "bad.h5").write_text("no HDF5")
    for name in ("bad.h5", "missing.h5"):
        with pytest.raises(DataError, match="no data set"):
            read_dataset(tmp_path / name)
