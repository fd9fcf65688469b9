"""The folder of a calibration: settings, data set, result; it is also the journal from which one resumes."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, final

from rpudriver.calibration.procedure import Journal, Procedure, Progress
from rpudriver.experiment.checkpoints import load_checkpoint, newest_checkpoint, save_checkpoint
from rpudriver.experiment.datasets import write_dataset
from rpudriver.experiment.folder import RunFolder, write_json
from rpudriver.experiment.interruption import Interrupted

Report = Callable[[Progress], None]
Stop = Callable[[], int | None]
EVERY = 5.0  # seconds between two savings
SHARE = 20.0  # a saving that takes long is waited for this many times its own time


@final
class MeasurementFolder(Journal):
    """Where a calibration writes: ``config.toml``, ``checkpoints/``, ``dataset.h5``, ``result.json``.

    Parameters
    ----------
    path : the folder.
    config : all that defines the measurement, TOML; a resumed one must have the same.
    resume : go on from the newest checkpoint.
    report : called after each portion.
    stop : asked after each portion; the number of a signal ends the measurement, see `SignalWatch`.

    Raises
    ------
    OutputError
        If the folder holds something else, or nothing to resume.
    """

    def __init__(self, path: Path, config: str, resume: bool, report: Report, stop: Stop) -> None:
        self._folder, self._config = RunFolder(path), config
        self._report, self._stop = report, stop
        self._folder.begin(config, resume)
        self._resumes, self._saved_at, self._wait, self._saves = resume, time.monotonic(), EVERY, 0
        self.dataset, self.result = path / "dataset.h5", self._folder.result

    def withdraw(self) -> None:
        """Take back a folder in which nothing was measured."""
        if not self._resumes and newest_checkpoint(self._folder.checkpoints) is None:
            self._folder.withdraw()

    def resume(self) -> dict[str, Any] | None:
        path = newest_checkpoint(self._folder.checkpoints) if self._resumes else None
        if path is None:
            return None
        content = load_checkpoint(path, {"config": self._config})
        self._saves = content["saves"]
        state: dict[str, Any] = content["state"]
        return state

    def note(self, progress: Progress, state: Callable[[], dict[str, Any]]) -> None:
        self._report(progress)
        number = self._stop()
        if number is None and time.monotonic() - self._saved_at < self._wait:
            return
        saved = self._save(state())
        if number is not None:
            raise Interrupted(number, str(saved))

    def _save(self, state: Mapping[str, Any]) -> Path:
        start = time.monotonic()
        self._saves += 1
        content = {"config": self._config, "saves": self._saves, "state": state}
        path = save_checkpoint(self._folder.checkpoints, self._saves, content)
        record = {key: state[key] for key in ("started", "wall_time_s", "cost")}
        write_dataset(self.dataset, state["data"], record, complete=False)
        self._saved_at = time.monotonic()
        self._wait = max(EVERY, SHARE * (self._saved_at - start))
        return path

    def finish(self, procedure: Procedure) -> dict[str, Any]:
        """Write the data set and the result of a fitted procedure, and return the latter."""
        record = procedure.record_.as_dict()
        write_dataset(self.dataset, procedure.data_, record, complete=True)
        found = [finding.as_dict() for finding in procedure.findings_]
        result = {**record, "findings": found, "results": procedure.summary()}
        write_json(self.result, result)
        return result
