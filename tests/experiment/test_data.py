import gzip
import struct

import numpy as np
import pytest
import torch

from rpudriver.errors import DataError
from rpudriver.experiment.config import DataSection
from rpudriver.experiment.data import ENVIRONMENT, batches, load_data, permutation
from rpudriver.experiment.idx import read_idx

MNIST = DataSection(name="mnist")
FILES = {"train-images-idx3-ubyte": 3, "train-labels-idx1-ubyte": 1, "t10k-images-idx3-ubyte": 3}
FILES["t10k-labels-idx1-ubyte"] = 1


def idx_bytes(values):
    return struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape) + values.tobytes()


def write_mnist(folder, compress, images=7, size=4):
    rng = np.random.default_rng(3)
    folder.mkdir(parents=True, exist_ok=True)
    written = {}
    for name, axes in FILES.items():
        shape = (images, size, size) if axes == 3 else (images,)
        written[name] = rng.integers(0, 256 if axes == 3 else 10, shape, dtype=np.uint8)
        raw = idx_bytes(written[name])
        (folder / (f"{name}.gz" if compress else name)).write_bytes(gzip.compress(raw) if compress else raw)
    return written


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("inside", ["", "mnist"])
def test_idx_files_are_found_and_scaled(tmp_path, compress, inside):
    written = write_mnist(tmp_path / inside, compress)
    data = load_data(MNIST, tmp_path)
    expected = torch.from_numpy(written["train-images-idx3-ubyte"].reshape(7, 16) / 255).to(torch.float32)
    assert torch.equal(data.train_x, expected)
    assert data.test_y.tolist() == written["t10k-labels-idx1-ubyte"].tolist()
    assert data.train_x.dtype is torch.float32
    assert data.train_y.dtype is torch.int64


def test_the_environment_names_the_folder(tmp_path, monkeypatch):
    write_mnist(tmp_path, True)
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path))
    assert len(load_data(MNIST).train_y) == 7
    monkeypatch.delenv(ENVIRONMENT)
    with pytest.raises(DataError, match=r"--data or RPUDRIVER_DATA"):
        load_data(MNIST)


def test_a_missing_folder_or_file_is_named(tmp_path):
    with pytest.raises(DataError, match="nowhere is not a folder"):
        load_data(MNIST, tmp_path / "nowhere")
    write_mnist(tmp_path, False)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match=r"no file t10k-labels-idx1-ubyte or t10k-labels-idx1-ubyte\.gz in"):
        load_data(MNIST, tmp_path)


def damage(change):
    values = np.arange(5 * 3 * 3, dtype=np.uint8).reshape(5, 3, 3)
    return change(idx_bytes(values))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw: raw[:-1], r"x is truncated: 60 bytes, expected 61 for \(5, 3, 3\)"),
        (lambda raw: raw + b"\0", "x is too long: 62 bytes, expected 61"),
        (lambda raw: raw[:9], "x is truncated: 9 bytes, expected an IDX header of 16"),
        (lambda raw: b"", "x is truncated: 0 bytes"),
        (lambda raw: b"\0\0\x08\x01" + raw[4:], "x starts with 0x00000801, expected 0x00000803"),
        (lambda raw: b"\0\0\x0d\x03" + raw[4:], "x starts with 0x00000d03, expected 0x00000803"),
        (lambda raw: b"<html>not found</html>", "x starts with 0x3c68746d"),
    ],
)
def test_damaged_files_say_what_was_expected(tmp_path, change, message):
    path = tmp_path / "x"
    path.write_bytes(damage(change))
    with pytest.raises(DataError, match=message):
        read_idx(path, 3)


@pytest.mark.parametrize("change", [lambda raw: raw[:-9], lambda raw: raw[:5], lambda raw: b"plain", lambda raw: b""])
def test_damaged_gzip_is_an_error_of_ours(tmp_path, change):
    path = tmp_path / "x.gz"
    path.write_bytes(change(gzip.compress(damage(bytes))))
    with pytest.raises(DataError, match=r"x\.gz"):
        read_idx(path, 3)


def test_a_flipped_bit_in_gzip_is_noticed(tmp_path):
    raw = bytearray(gzip.compress(damage(bytes)))
    raw[len(raw) // 2] ^= 0x10
    (tmp_path / "x.gz").write_bytes(raw)
    with pytest.raises(DataError, match=r"x\.gz"):
        read_idx(tmp_path / "x.gz", 3)


def test_images_and_labels_must_belong_together(tmp_path):
    write_mnist(tmp_path, False)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx_bytes(np.zeros(6, np.uint8)))
    with pytest.raises(DataError, match=r"holds 7 images, .*train-labels-idx1-ubyte 6 labels"):
        load_data(MNIST, tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx_bytes(np.full(7, 10, np.uint8)))
    with pytest.raises(DataError, match=r"holds the label 10, expected 0 \.\. 9"):
        load_data(MNIST, tmp_path)


def test_digits_are_split_by_their_seed_alone():
    first, again = load_data(DataSection()), load_data(DataSection())
    other = load_data(DataSection(split_seed=1))
    assert first.digest() == again.digest() != other.digest()
    assert (len(first.train_y), len(first.test_y)) == (1438, 359)
    assert float(first.train_x.min()) == 0.0
    assert float(first.train_x.max()) == 1.0
    rows = torch.cat([first.train_x, first.test_x]).sum(1).sort().values
    assert torch.equal(
        rows, torch.cat([other.train_x, other.test_x]).sum(1).sort().values
    )  # nothing lost, nothing twice


def test_permutations_are_complete_and_differ_by_epoch():
    first, second = permutation(1, "shuffle", 0, 1000), permutation(1, "shuffle", 1, 1000)
    assert torch.equal(first.sort().values, torch.arange(1000))
    assert torch.equal(first, permutation(1, "shuffle", 0, 1000))
    assert int((first == second).sum()) < 10  # one fixed point is expected; ten have a probability of 1e-7


def test_batches_cover_everything_once():
    assert [(part.start, part.stop) for part in batches(10, 4)] == [(0, 4), (4, 8), (8, 10)]
    assert list(batches(0, 4)) == []
