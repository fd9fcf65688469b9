"""An emulated bench for tests, chips opened on it, and a tap on the line to one instrument."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rpudriver.backends.base import CrossbarBackend
from rpudriver.backends.hardware.emulator.bench import EmulatedBench
from rpudriver.backends.registry import make
from tests.backends.hardware.boards import NOISE_FREE

CHIP = Path(__file__).parents[4] / "backends/hardware/chips/bench-8.toml"


@pytest.fixture(scope="module")
def bench() -> Any:
    with EmulatedBench() as opened:
        yield opened


@pytest.fixture(scope="module")
def exact_bench() -> Any:
    with EmulatedBench(**NOISE_FREE) as opened:
        yield opened


def open_bench(bench: EmulatedBench, state: Path, chip: str | Path = "bench-8", **options: Any) -> CrossbarBackend:
    return make("scpi-bench", **{**bench.options, "chip": str(chip), "state": str(state), **options})


def profile_with(folder: Path, *changes: tuple[str, str]) -> Path:
    """Return the profile of the bench with some lines changed."""
    text = CHIP.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = folder / "changed.toml"
    path.write_text(text)
    return path


Answer = Callable[[str, bytes], bytes | None]


class Tap:
    """Between a driver and an instrument: notes messages, and may change answers or cut the line.

    `answer` gets a message and the answer to it, and returns what the driver is to get, None to cut the line.
    """

    def __init__(self, address: str) -> None:
        _, host, port, _ = address.split("::")
        self._to = host, int(port)
        self.sent: list[str] = []
        self.answer: Answer = lambda message, answer: answer
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"TCPIP::127.0.0.1::{self._socket.getsockname()[1]}::SOCKET"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._socket.accept()
                threading.Thread(target=self._join, args=(client,), daemon=True).start()

    def _join(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client, socket.create_connection(self._to) as instrument:
            lines, answers = client.makefile("rb"), instrument.makefile("rb")
            while line := lines.readline():
                self.sent.append(line.decode().strip())
                instrument.sendall(line)
                answer = self.answer(self.sent[-1], answers.readline())  # our driver has an answer to every message
                if answer is None:
                    client.shutdown(socket.SHUT_RDWR)
                    return
                client.sendall(answer)

    def close(self) -> None:
        self._socket.close()


@contextlib.contextmanager
def tapped(bench: EmulatedBench, *names: str) -> Iterator[tuple[dict[str, str], dict[str, Tap]]]:
    """Give the options of a bench with taps in the lines named."""
    taps = {name: Tap(bench.options[name]) for name in names}
    try:
        yield bench.options | {name: tap.address for name, tap in taps.items()}, taps
    finally:
        for tap in taps.values():
            tap.close()


def at_rest(bench: EmulatedBench) -> bool:
    """Look at the instruments with connections of our own: all outputs off, all relays open."""
    return (
        ask(bench.options["source"], ":OUTP?") == "0"
        and float(ask(bench.options["gates"], "print(smua.source.output + smub.source.output)")) == 0
        and ask(bench.options["matrix"], "print(channel.getclose('allslots'))") == "nil"
    )


def ask(address: str, message: str) -> str:
    _, host, port, _ = address.split("::")
    with socket.create_connection((host, int(port)), timeout=20) as line:
        line.sendall(f"{message}\n".encode())
        return line.makefile("r").readline().strip()
