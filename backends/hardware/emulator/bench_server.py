"""The sockets of the emulated bench: a port for each instrument, lines in, answers out."""

import contextlib
import socket
import threading
from collections.abc import Sequence
from typing import final

from rpudriver.backends.hardware.emulator.instruments.instrument import Instrument
from rpudriver.backends.hardware.emulator.instruments.keithley2450 import Keithley2450
from rpudriver.backends.hardware.emulator.instruments.keithley2600 import Keithley2602B
from rpudriver.backends.hardware.emulator.instruments.keithley3706a import Keithley3706A
from rpudriver.backends.hardware.emulator.wiring import Wiring

LONGEST_LINE = 1 << 20


@final
class _Port:
    """One instrument's port: one client at a time, others wait in the queue of the socket and hear nothing."""

    def __init__(self, host: str, port: int, instrument: Instrument) -> None:
        self.instrument = instrument
        self.socket = socket.create_server((host, port))
        self.address = f"TCPIP::{host}::{self.socket.getsockname()[1]}::SOCKET"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            connection, _ = self.socket.accept()
            with connection, contextlib.suppress(OSError):  # gone
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._talk(connection)
            self.instrument.disconnected()

    def _talk(self, connection: socket.socket) -> None:
        with connection.makefile("rb") as lines:
            while (line := lines.readline(LONGEST_LINE)).endswith(b"\n"):
                answer = self.instrument.receive(line.decode("latin-1").rstrip("\r\n"))
                if answer:
                    connection.sendall(answer)


@final
class BenchServer:
    """The instruments of a bench, listening as long as the process runs.

    Parameters
    ----------
    wiring : Wiring
    host : address to listen at.
    ports : of the 2450, the 2602B and the 3706A; 0 takes a free one.
    """

    def __init__(self, wiring: Wiring, host: str = "127.0.0.1", ports: Sequence[int] = (0, 0, 0)) -> None:
        kinds = (Keithley2450, Keithley2602B, Keithley3706A)
        instruments: list[Instrument] = [kind(wiring) for kind in kinds]
        opened = [_Port(host, port, one) for port, one in zip(ports, instruments, strict=True)]
        self.addresses = {one.instrument.name: one.address for one in opened}
