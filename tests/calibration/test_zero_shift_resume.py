"""An interrupted zero shift goes on where it was, in every phase, and ends as an uninterrupted one."""

import signal
from pathlib import Path

import pytest
import torch

from rpudriver.calibration.procedure import Progress
from rpudriver.calibration.zero_shift import ZeroShift
from rpudriver.calibration.zero_shift_alternating import AlternatingZeroShift
from rpudriver.calibration.zero_shift_response import ResponseZeroShift
from rpudriver.experiment.datasets import read_dataset
from rpudriver.experiment.interruption import Interrupted
from rpudriver.experiment.measurement import MeasurementFolder
from tests.calibration.spread import spread_chip

CONFIG = 'procedure = "zero-shift"\n'


def folder(path: Path, resume: bool, stop_after: int) -> MeasurementFolder:
    seen: list[Progress] = []
    return MeasurementFolder(
        path, CONFIG, resume, seen.append, lambda: signal.SIGINT if len(seen) == stop_after else None
    )


@pytest.mark.parametrize("method", [AlternatingZeroShift(reads=6), ResponseZeroShift(rounds=6)], ids=lambda m: m.name)
def test_interrupted_in_every_phase(method: ZeroShift, tmp_path: Path) -> None:
    whole = method.settings()
    expected = type(method)(**whole).fit(*spread_chip(shape=(6, 5)))
    path, phases, resume = tmp_path / "m", set(), False
    while True:
        try:
            done = type(method)(**whole).fit(*spread_chip(shape=(6, 5)), journal=folder(path, resume, 3))
            break
        except Interrupted:
            data, record = read_dataset(path / "dataset.h5")
            assert not record["complete"]
            phases.add(data["phase"])
            resume = True
    assert {"measure", "verify/a", "verify/b"} <= phases
    for key, value in expected.data_.items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(done.data_[key].nan_to_num(7), value.nan_to_num(7)), key
    assert done.record_.cost == expected.record_.cost
    assert [str(finding) for finding in done.findings_] == [str(finding) for finding in expected.findings_]
