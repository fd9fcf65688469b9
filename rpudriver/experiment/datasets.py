"""Data sets of measurements as HDF5: named arrays, and where they come from as attributes."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from rpudriver.errors import DataError, OutputError
from rpudriver.experiment.folder import write_atomically


def write_dataset(path: Path, data: Mapping[str, Any], record: Mapping[str, Any], complete: bool) -> None:
    """Write an HDF5 file, whole or not at all.

    Parameters
    ----------
    data : tensors, arrays, numbers and texts; ``"group/name"`` puts an entry into a group.
    record : where the data come from; kept as JSON in the attribute ``record``.
    complete : False for what an interrupted measurement has so far; kept in the attribute ``complete``.

    Raises
    ------
    OutputError
        If it cannot be written.
    """

    def write(file: Any) -> None:
        with h5py.File(file, "w") as h5:
            h5.attrs["record"], h5.attrs["complete"] = json.dumps(record), complete
            for name, value in data.items():
                _put(h5, name, value)

    try:
        write_atomically(path, write)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error}") from error


def _put(h5: Any, name: str, value: Any) -> None:
    values = value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else value
    large = isinstance(values, np.ndarray) and values.size > 4096
    h5.create_dataset(name, data=values, **({"compression": "gzip", "compression_opts": 1} if large else {}))


def read_dataset(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the entries of a file that `write_dataset` wrote (arrays as tensors), and its record.

    The record has the key ``complete`` besides.

    Raises
    ------
    DataError
        If there is no such file, or it is of another kind.
    """
    data: dict[str, Any] = {}

    def take(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            value = item[()]
            if isinstance(value, bytes):
                data[name] = value.decode()
            else:
                data[name] = torch.from_numpy(value) if isinstance(value, np.ndarray) else value.item()

    try:
        with h5py.File(path, "r") as h5:
            record = json.loads(h5.attrs["record"]) | {"complete": bool(h5.attrs["complete"])}
            h5.visititems(take)
    except (OSError, KeyError, ValueError) as error:
        raise DataError(f"{path} is no data set of `rpudriver calibrate` ({error}); give its dataset.h5") from None
    return data, record
