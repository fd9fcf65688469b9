"""The training loop, from top to bottom: what `rpudriver train` does.

Read `train` first. All that it needs to go on after an interruption is in `Position`, the model's and the
optimizer's state; every random draw is a function of seed and position, so a resumed run repeats the uninterrupted
one bit for bit.
"""

import hashlib
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy
import torch
from torch.nn.functional import cross_entropy

from rpudriver import __version__
from rpudriver.backends.base import CrossbarBackend
from rpudriver.experiment.averaging import ModelAverage
from rpudriver.experiment.checkpoints import load_checkpoint, newest_checkpoint, save_checkpoint
from rpudriver.experiment.config import Config
from rpudriver.experiment.data import Data, batches, load_data, permutation
from rpudriver.experiment.evaluation import evaluate
from rpudriver.experiment.folder import RunFolder, write_json
from rpudriver.experiment.interruption import Interrupted
from rpudriver.experiment.network import build_network, build_optimizer, check_sizes, open_chip, shadow_cost


@dataclass
class Position:
    """Where a run stands. `batch` mini-batches of the epoch are done; the sums run over them.

    Attributes
    ----------
    history : one record for each finished epoch, as in ``metrics.jsonl``.
    """

    epoch: int = 0
    batch: int = 0
    loss_sum: float = 0.0
    correct: int = 0
    seen: int = 0
    wall_time_s: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Progress:
    """What a progress bar wants to know after each mini-batch."""

    done: int  # mini-batches of the whole run
    total: int
    epoch: int  # from 1
    epochs: int
    loss: float  # mean over the epoch so far
    test_accuracy: float | None  # of the epoch before


Report = Callable[[Progress], None]
Stop = Callable[[], int | None]


@dataclass(frozen=True)
class Run:
    """A finished run: its result as in ``result.json``, and the trained network on its chip."""

    result: dict[str, Any]
    model: torch.nn.Module
    chip: CrossbarBackend | None


def train(
    config: Config,
    out: Path,
    *,
    resume: bool = False,
    data_folder: Path | None = None,
    report: Report = lambda progress: None,
    stop: Stop = lambda: None,
) -> Run:
    """Train as the config says and write everything about it into a folder.

    Parameters
    ----------
    out : output folder, see `RunFolder`.
    resume : go on from the newest checkpoint in `out`.
    data_folder : where the data set's files are, see `load_data`.
    report : called after each mini-batch.
    stop : asked after each mini-batch; the number of a signal ends the run, see `SignalWatch`.

    Raises
    ------
    ConfigError, DataError, OutputError, CheckpointError
        Before anything is trained.
    Interrupted
        If `stop` said so; a checkpoint has been saved and the chip is idle.
    """
    chip = open_chip(config)  # refuses bad options before anything is written
    try:
        data = load_data(config.data, data_folder)
        check_sizes(config, data)
        folder = RunFolder(out)
        folder.begin(config.to_toml(), resume)
        try:
            if chip is not None:
                chip.keep_journal(folder.journal, resume)
                chip.arm()
            model = build_network(config, chip)
            average = ModelAverage.of(config, model, chip, len(data.train_y))
        except BaseException:
            if not resume:
                folder.withdraw()
            raise
        loop = _Loop(config, data, model, chip, average, folder, report, stop)
        if resume:
            loop.load()
        return Run(loop.run(), model, chip)
    finally:
        if chip is not None:
            chip.close()  # idles it, whatever happened


class _Loop:
    """The loop and what it works on."""

    def __init__(
        self,
        config: Config,
        data: Data,
        model: torch.nn.Module,
        chip: CrossbarBackend | None,
        average: ModelAverage | None,
        folder: RunFolder,
        report: Report,
        stop: Stop,
    ) -> None:
        self.config, self.data, self.model, self.chip = config, data, model, chip
        self.average, self.folder, self.report, self.stop = average, folder, report, stop
        self.optimizer = build_optimizer(config, model)
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        self.position = Position()
        self.per_epoch = len(list(batches(len(data.train_y), config.training.batch)))
        self.identity = {"config": _digest(config.to_toml()), "data": data.digest()}

    def run(self) -> dict[str, Any]:
        self.folder.write_metrics(self.position.history)
        self.clock = time.perf_counter()
        for epoch in range(self.position.epoch, self.config.training.epochs):
            self.train_epoch(epoch)
            self.position.history.append(self.epoch_record(epoch))
            self.folder.write_metrics(self.position.history)
            self.position.epoch, self.position.batch = epoch + 1, 0
            self.position.loss_sum, self.position.correct, self.position.seen = 0.0, 0, 0
            self.save()
            if epoch + 1 < self.config.training.epochs:
                self.stop_if_asked()
        result = self.result()
        shadow = shadow_cost(self.model)
        if shadow is not None:
            result["shadow"] = shadow
        if self.average is not None:
            result["average"] = self.average.finish(self.folder.path, self.data)
        write_json(self.folder.result, result)
        return result

    def train_epoch(self, epoch: int) -> None:
        """Go through the training set once, in an order of this epoch's own, from where the position stands."""
        factor = self.config.training.rate_factor(epoch)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
        order = permutation(self.config.seed, "shuffle", epoch, len(self.data.train_y))
        self.model.train()
        for number, chosen in enumerate(batches(len(order), self.config.training.batch)):
            if number < self.position.batch:  # done before the interruption
                continue
            samples = order[chosen]
            self.train_batch(self.data.train_x.index_select(0, samples), self.data.train_y.index_select(0, samples))
            self.position.batch = number + 1
            self.report(self.progress(epoch))
            if self.position.batch < self.per_epoch:
                self.stop_if_asked()

    def train_batch(self, x: torch.Tensor, y: torch.Tensor) -> None:
        self.optimizer.zero_grad()
        logits = self.model(x)
        loss = cross_entropy(logits, y)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        if self.average is not None:
            self.average.after_update(self.position.epoch)
        self.position.loss_sum += loss.item() * len(y)
        self.position.correct += int((logits.argmax(1) == y).sum())
        self.position.seen += len(y)

    def test(self) -> tuple[float, float]:
        """Return mean loss and accuracy on the test set, read from the chip with all its noise."""
        return evaluate(self.model, self.data.test_x, self.data.test_y)

    def epoch_record(self, epoch: int) -> dict[str, Any]:
        position = self.position
        test_loss, test_accuracy = self.test()
        return {
            "epoch": epoch + 1,
            "lr": self.rates[0] * self.config.training.rate_factor(epoch),
            "train_loss": position.loss_sum / position.seen,
            "train_accuracy": position.correct / position.seen,
            "test_loss": test_loss,
            "test_accuracy": test_accuracy,
            "wall_time_s": self.wall_time(),
            "cost": self.cost(),
        }

    def progress(self, epoch: int) -> Progress:
        position, epochs = self.position, self.config.training.epochs
        before = position.history[-1]["test_accuracy"] if position.history else None
        done = epoch * self.per_epoch + position.batch
        return Progress(done, epochs * self.per_epoch, epoch + 1, epochs, position.loss_sum / position.seen, before)

    def wall_time(self) -> float:
        """Return the seconds spent in the loop, those before an interruption included."""
        now = time.perf_counter()
        self.position.wall_time_s += now - self.clock
        self.clock = now
        return self.position.wall_time_s

    def cost(self) -> dict[str, int | float] | None:
        return None if self.chip is None else self.chip.status().cost

    def stop_if_asked(self) -> None:
        number = self.stop()
        if number is not None:
            raise Interrupted(number, str(self.save()))

    def save(self) -> Path:
        self.wall_time()
        content = {
            "position": asdict(self.position),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": None if self.average is None else self.average.save(),
        }
        step = self.position.epoch * self.per_epoch + self.position.batch
        return save_checkpoint(self.folder.checkpoints, step, self.identity | content)

    def load(self) -> None:
        """Put back the newest checkpoint; a run that was stopped before its first one starts from the beginning."""
        path = newest_checkpoint(self.folder.checkpoints)
        if path is None:
            return
        content = load_checkpoint(path, self.identity)
        self.model.load_state_dict(content["model"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.position = Position(**content["position"])
        if self.average is not None:
            self.average.load(content["average"])

    def result(self) -> dict[str, Any]:
        config, last = self.config, self.position.history[-1]
        return {
            "algorithm": config.algorithm.name,
            "test_accuracy": last["test_accuracy"],
            "test_loss": last["test_loss"],
            "epochs": config.training.epochs,
            "seed": config.seed,
            "wall_time_s": last["wall_time_s"],
            "cost": last["cost"],
            "curve": self.position.history,
            "data": {"name": config.data.name, "train": len(self.data.train_y), "test": len(self.data.test_y)}
            | {"digest": self.identity["data"]},
            "backend": None if self.chip is None else config.backend.model_dump(mode="json"),
            "versions": {
                "rpudriver": __version__,
                "python": platform.python_version(),
                "torch": torch.__version__,
                "numpy": numpy.__version__,
            },
        }


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
