"""Boards to talk to: the firmware under the sanitizers, on a pseudo-terminal or on standard input and output."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rpudriver.backends.hardware.firmware.build import build_host
from tests.backends.hardware.firmware.boards import Board, StreamBoard
from tests.backends.hardware.firmware.fake_chip import FakeChip

NEEDS_COMPILER = "needs a C compiler (cc, gcc or clang)"


@pytest.fixture(scope="session")
def host_build() -> Path:
    if not any(map(shutil.which, ("cc", "gcc", "clang"))):
        pytest.skip(NEEDS_COMPILER)
    return build_host(sanitize=True)


@pytest.fixture(scope="session")
def stream_build() -> Path:
    if not any(map(shutil.which, ("cc", "gcc", "clang"))):
        pytest.skip(NEEDS_COMPILER)
    return build_host(sanitize=True, program="fake")


@pytest.fixture
def start(host_build: Path, tmp_path: Path) -> Iterator[Callable[..., Board]]:
    """Starts boards, each on a chip of its own but all on the same store."""
    boards: list[Board] = []

    def start(*options: str, build: Path = host_build, **chip: object) -> Board:
        boards.append(Board(build, tmp_path, len(boards), FakeChip(tmp_path / f"chip{len(boards)}", **chip), options))  # type: ignore[arg-type]
        return boards[-1]

    yield start
    for board in boards:
        board.close()


@pytest.fixture
def board(start: Callable[..., Board]) -> Board:
    return start()


@pytest.fixture
def stream(stream_build: Path, tmp_path: Path) -> Callable[[bytes], StreamBoard]:
    """Sends everything to a new board and returns what came of it."""

    def stream(data: bytes) -> StreamBoard:
        done = subprocess.run([stream_build, tmp_path / "log"], input=data, capture_output=True, timeout=120)
        assert done.returncode == 0, done.stderr.decode()
        return StreamBoard(done.stdout, (tmp_path / "log").read_text().splitlines())

    return stream
