"""The folder of a run: resolved config, metrics, checkpoints, result. Files are written whole or not at all."""

import contextlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from rpudriver.errors import OutputError


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file under a temporary name and rename it, so that a crash leaves the old one or the new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w+b") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON file.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    text = json.dumps(value, indent=2) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, lambda file: file.write(text.encode()))
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error}") from error


def require_writable(path: Path) -> None:
    """Make sure, before long work, that a file can be written there afterwards; its folder is made.

    Raises
    ------
    OutputError
        If it cannot.
    """
    if path.is_dir():
        raise OutputError(f"{path} is a folder; give the path of a file")
    probe = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}; choose another path") from None


class RunFolder:
    """Where a run writes.

    Parameters
    ----------
    path : the folder; made by `begin`.

    Attributes
    ----------
    config, metrics, result, checkpoints : paths of ``config.toml``, ``metrics.jsonl``, ``result.json`` and of the
        folder ``checkpoints``.
    journal : path of ``chip.journal``, which only a real chip writes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.toml"
        self.metrics = path / "metrics.jsonl"
        self.result = path / "result.json"
        self.checkpoints = path / "checkpoints"
        self.journal = path / "chip.journal"

    def begin(self, config: str, resume: bool) -> None:
        """Claim the folder for a run, or make sure that it holds the run to resume.

        Parameters
        ----------
        config : the resolved config, TOML.

        Raises
        ------
        OutputError
            If a new run finds another one, if there is nothing to resume, or if what is there has another config.
        """
        if resume:
            self._check_same(config)
            return
        try:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            with self.config.open("x", encoding="utf-8") as file:
                file.write(config)
        except FileExistsError:
            raise OutputError(f"{self.path} holds another run; go on with --resume or choose another folder") from None
        except OSError as error:
            raise OutputError(f"cannot use {self.path} as output folder: {error}") from error

    def withdraw(self) -> None:
        """Take back what `begin` made for a new run that could not start; other files of the user's stay."""
        self.config.unlink(missing_ok=True)
        for folder in (self.checkpoints, self.path):
            with contextlib.suppress(OSError):  # not empty: not ours alone
                folder.rmdir()

    def _check_same(self, config: str) -> None:
        if not self.config.is_file():
            raise OutputError(f"{self.path} holds no run to resume; check the path or leave out --resume")
        here, asked = self.config.read_text(encoding="utf-8").splitlines(), config.splitlines()
        if here != asked:
            there = next((line for line in here if line not in asked), "nothing more")
            now = next((line for line in asked if line not in here), "nothing more")
            raise OutputError(
                f"{self.config} belongs to another config (first difference: there {there}, now {now}); "
                "resume with the same config and overrides, or choose another folder"
            )

    def write_metrics(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Write ``metrics.jsonl`` anew, a line for each epoch."""
        text = "".join(json.dumps(record) + "\n" for record in records)
        write_atomically(self.metrics, lambda file: file.write(text.encode()))
