"""Checkpoints: all that a run needs to go on as if it had never stopped."""

import pickle
from pathlib import Path
from typing import Any

import torch

from rpudriver import __version__
from rpudriver.errors import CheckpointError
from rpudriver.experiment.folder import write_atomically

FORMAT = 1
KEEP = 2  # the newest and, should its disk fail, the one before


def save_checkpoint(folder: Path, step: int, content: dict[str, Any]) -> Path:
    """Write ``step-NNN.pt`` whole or not at all, remove all but the newest two, and return its path.

    Parameters
    ----------
    content : plain numbers, strings, containers and tensors.
    """
    path = folder / f"step-{step:09d}.pt"
    write_atomically(path, lambda file: torch.save({"format": FORMAT, "version": __version__} | content, file))
    for old in _checkpoints(folder)[:-KEEP]:
        old.unlink()
    return path


def newest_checkpoint(folder: Path) -> Path | None:
    """Return the path of the newest checkpoint, or None."""
    found = _checkpoints(folder)
    return found[-1] if found else None


def load_checkpoint(path: Path, expected: dict[str, str]) -> dict[str, Any]:
    """Return the content of a checkpoint.

    Parameters
    ----------
    expected : entries that must be the same in it, for example its config.

    Raises
    ------
    CheckpointError
        If it is damaged, or was written by another version or for something else.
    """
    try:
        content = torch.load(path, weights_only=True)  # refuses code in the file
        found = {"format": content["format"], "version": content["version"]}
    except (OSError, RuntimeError, EOFError, KeyError, TypeError, ValueError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0].partition(". ")[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"{path} is not a checkpoint or is damaged ({reason}); remove it to use the one before"
        ) from None
    if found != {"format": FORMAT, "version": __version__}:
        raise CheckpointError(
            f"{path} was written by rpudriver {found['version']}, format {found['format']}; this is {__version__}, "
            f"format {FORMAT}. Resume with that version or start anew in another folder"
        )
    for key, value in expected.items():
        if content.get(key) != value:
            raise CheckpointError(
                f"{path} belongs to another {key}: it has {content.get(key)!r}, this run {value!r}; "
                "resume with what it was started with, or start anew in another folder"
            )
    return dict(content)


def _checkpoints(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*.pt"))
