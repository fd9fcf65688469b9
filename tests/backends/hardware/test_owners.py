"""One owner for a port or an instrument, whatever its chip is called."""

import multiprocessing
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rpudriver.backends import hardware
from rpudriver.backends.base import CrossbarBackend
from rpudriver.backends.hardware.emulator.bench import EmulatedBench
from rpudriver.backends.registry import make
from rpudriver.errors import BackendError, BoardError, LinkLostError, OwnerError
from tests.backends.hardware.board_model import BoardModel
from tests.backends.hardware.boards import NOISE_FREE, modelled
from tests.backends.hardware.cable import Cable

__all__ = ["modelled"]  # a fixture

CHIPS = Path(hardware.__file__).parent / "chips"


def renamed(chip: str, folder: Path) -> str:
    """Return the profile of a chip under another name."""
    path = folder / "other.toml"
    path.write_text((CHIPS / f"{chip}.toml").read_text().replace(f'chip = "{chip}"', 'chip = "other"'))
    return str(path)


def in_use(what: str, chip: str) -> str:
    """Return the pattern of the error: it names the owner and the cure."""
    return rf"{what} is in use by process {os.getpid()} \(.*\) since .*, with chip '{chip}'; end that first"


def board(port: str, chip: str, state: Path) -> CrossbarBackend:
    return make("serial-board", port=port, chip=chip, state=str(state))


def test_another_name_is_not_another_port(modelled: tuple[BoardModel, str], tmp_path: Path) -> None:
    _, port = modelled
    link = tmp_path / "board"
    link.symlink_to(port)
    other = renamed("emulated-64", tmp_path)
    with board(port, "emulated-64", tmp_path / "one"):
        for name in (port, str(link)):
            with pytest.raises(OwnerError, match=in_use(port, "emulated-64")):
                board(name, other, tmp_path / "another")
        with pytest.raises(BoardError, match="there is no port"):
            board("/nowhere", other, tmp_path / "another")
    with pytest.raises(BoardError, match="the board holds the chip 'emulated-64'"):  # it gets as far as that now
        board(port, other, tmp_path / "another")


def test_where_opening_fails_nothing_stays_taken(modelled: tuple[BoardModel, str], tmp_path: Path) -> None:
    """Not even while somebody holds the error, and with it all that was open when it was raised."""
    model, port = modelled
    model.chip = b"another"
    with pytest.raises(BoardError) as kept:
        board(port, "emulated-64", tmp_path)
    model.chip = b"emulated-64"
    board(port, "emulated-64", tmp_path).close()
    assert "the board holds the chip 'another'" in str(kept.value)


def test_a_port_on_the_network_has_one_owner(modelled: tuple[BoardModel, str], tmp_path: Path) -> None:
    """Nothing but our lock keeps two programs from one socket."""
    cable = Cable(modelled[1])
    with board(cable.port, "emulated-64", tmp_path), pytest.raises(OwnerError, match=in_use(cable.port, "emulated-64")):
        board(cable.port.upper().replace("SOCKET", "socket"), renamed("emulated-64", tmp_path), tmp_path)
    cable.close()


@pytest.fixture(scope="module")
def bench() -> Iterator[EmulatedBench]:
    with EmulatedBench(**NOISE_FREE) as opened:
        yield opened


def test_benches_share_no_instrument(bench: EmulatedBench, tmp_path: Path) -> None:
    def opened(chip: str, **options: Any) -> CrossbarBackend:
        return make("scpi-bench", **{**bench.options, **options, "chip": chip, "state": str(tmp_path)})

    other, gates = renamed("bench-8", tmp_path), bench.options["gates"]
    with opened("bench-8"):
        for options in (
            {},
            {"source": "TCPIP::127.0.0.1::9::SOCKET", "matrix": "TCPIP::127.0.0.1::9::SOCKET"},
            {"source": "TCPIP::127.0.0.1::9::SOCKET", "matrix": "no address", "gates": gates.lower()},
        ):
            with pytest.raises(OwnerError, match=in_use(r"TCPIP0::127.0.0.1::\d+::SOCKET", "bench-8")):
                opened(other, **options)
        with pytest.raises(LinkLostError):  # none of them is shared
            opened(other, **dict.fromkeys(bench.options, "TCPIP::127.0.0.1::9::SOCKET"))
    opened(other).close()


def _hold(port: str, state: Path, ready: Any) -> None:
    board(port, "emulated-64", state)
    ready.set()
    multiprocessing.Event().wait()


def test_a_killed_owner_owns_nothing(modelled: tuple[BoardModel, str], tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=_hold, args=(modelled[1], tmp_path / "one", ready))
    process.start()
    assert ready.wait(60)
    other = renamed("emulated-64", tmp_path)
    with pytest.raises(OwnerError, match=f"process {process.pid} "):
        board(modelled[1], other, tmp_path)
    process.kill()
    process.join()
    with pytest.raises(BackendError, match="the board holds the chip"):
        board(modelled[1], other, tmp_path)
