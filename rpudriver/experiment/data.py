"""Data sets: scikit-learn's digits, which need no download, and files in the format of MNIST."""

import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from rpudriver.errors import DataError
from rpudriver.experiment.config import DataSection
from rpudriver.experiment.idx import find_idx, read_idx
from rpudriver.keyed import arrays as keyed

ENVIRONMENT = "RPUDRIVER_DATA"
CLASSES = 10


@dataclass(frozen=True, eq=False)
class Data:
    """A data set for classification.

    Attributes
    ----------
    train_x, test_x : float32 tensors ``[N, pixels]`` in [0, 1].
    train_y, test_y : int64 tensors ``[N]``, classes from 0.
    """

    train_x: torch.Tensor
    train_y: torch.Tensor
    test_x: torch.Tensor
    test_y: torch.Tensor

    def digest(self) -> str:
        """Return a checksum of all values, which tells two data sets of one name apart."""
        total = 0
        for part in (self.train_x, self.train_y, self.test_x, self.test_y):
            total = zlib.crc32(part.numpy().tobytes(), total)
        return f"{total:08x}"


def permutation(seed: int, stream: str, step: int, count: int) -> torch.Tensor:
    """Return a permutation of ``0 .. count - 1``, int64, that follows from (seed, stream, step) alone."""
    words = keyed.draw(keyed.key(seed, stream, step), np.arange(count), 0)
    return torch.from_numpy(np.argsort(words, kind="stable"))


def batches(count: int, size: int) -> Iterator[slice]:
    """Return slices of `size` that cover ``0 .. count - 1``; the last may be shorter."""
    return (slice(first, min(first + size, count)) for first in range(0, count, size))


def load_data(section: DataSection, folder: Path | None = None) -> Data:
    """Return a data set.

    Parameters
    ----------
    folder
        Where the files are, or the parent of a folder named after the data set; default: ``RPUDRIVER_DATA``.
        Digits need none.

    Raises
    ------
    DataError
        If a file is missing or damaged; the message names it and what was expected.
    """
    return _digits(section) if section.name == "digits" else _mnist(section.name, _data_folder(section.name, folder))


def _data_folder(name: str, folder: Path | None) -> Path:
    if folder is None:
        given = os.environ.get(ENVIRONMENT)
        if not given:
            raise DataError(f"where are the files of {name}? Give their folder with --data or {ENVIRONMENT}")
        folder = Path(given)
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; point --data or {ENVIRONMENT} at the one with the files of {name}")
    return folder


def _digits(section: DataSection) -> Data:
    from sklearn.datasets import load_digits  # here, since it takes longer to import than all the rest

    bunch = load_digits()
    order = permutation(section.split_seed, "split", 0, len(bunch.target))
    x = torch.from_numpy(bunch.data).to(torch.float32)[order] / 16  # pixels count 0 .. 16
    y = torch.from_numpy(bunch.target).to(torch.int64)[order]
    test = max(1, min(len(y) - 1, round(section.test_fraction * len(y))))
    return Data(x[test:], y[test:], x[:test], y[:test])


def _mnist(name: str, folder: Path) -> Data:
    train_x, train_y = _mnist_part([folder, folder / name], "train")
    test_x, test_y = _mnist_part([folder, folder / name], "t10k")
    if train_x.shape[1] != test_x.shape[1]:
        raise DataError(
            f"images in {folder} have {train_x.shape[1]} pixels for training and {test_x.shape[1]} for test"
        )
    return Data(train_x, train_y, test_x, test_y)


def _mnist_part(folders: list[Path], part: str) -> tuple[torch.Tensor, torch.Tensor]:
    images_path = find_idx(folders, f"{part}-images-idx3-ubyte")
    labels_path = find_idx(folders, f"{part}-labels-idx1-ubyte")
    images, labels = read_idx(images_path, 3), read_idx(labels_path, 1)
    if not len(images) or len(images) != len(labels):
        raise DataError(f"{images_path} holds {len(images)} images, {labels_path} {len(labels)} labels; get both again")
    if labels.max() >= CLASSES:
        raise DataError(f"{labels_path} holds the label {labels.max()}, expected 0 .. {CLASSES - 1}")
    x = torch.from_numpy(images.reshape(len(images), -1).astype(np.float32)) / 255
    return x, torch.from_numpy(labels.astype(np.int64))
