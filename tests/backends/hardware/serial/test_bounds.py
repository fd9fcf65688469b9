"""Promise 8 on a serial link: every wait ends, and every way to lose the link is one error."""

import termios
import time
from collections.abc import Callable

import pytest
import serial

from rpudriver.backends.hardware.serial import link as link_module
from rpudriver.backends.hardware.serial.frames import Frame
from rpudriver.backends.hardware.serial.link import Link
from rpudriver.errors import LinkLostError
from tests.backends.hardware.serial.benches import bench
from tests.backends.hardware.wires import served, within


def test_a_port_that_takes_nothing_holds_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_module, "_WRITE_S", 0.2)
    with served(lambda data: b"") as end:
        end.stop()  # nobody reads any more
        link = Link(end.port, 921_600)
        with pytest.raises(LinkLostError, match="broke"):
            within(5.0, lambda: link.write(bytes(1 << 20)))
        assert link.lost


def test_idling_a_silent_board_takes_two_seconds_at_most() -> None:
    with bench(give_up=30.0) as b:
        b.end.stop()
        started = time.monotonic()
        with pytest.raises(LinkLostError, match="its watchdog puts the outputs to rest by itself"):
            within(5.0, b.driver.idle)
        assert time.monotonic() - started < 3.0


def test_what_the_host_does_itself_is_no_silence_of_the_board(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first frame of a process loads compiled code, which may take longer than a board is waited for."""
    with bench(give_up=0.1) as b:
        pack = Frame.pack

        def slowly(frame: Frame) -> bytes:
            time.sleep(0.3)
            return pack(frame)

        monkeypatch.setattr(Frame, "pack", slowly)
        assert b.driver.connect().armed


RAW = [
    OSError(5, "Input/output error"),
    BrokenPipeError(32, "Broken pipe"),
    serial.SerialException("device reports readiness to read but returned no data"),
    termios.error(5, "Input/output error"),
    TypeError("an integer is required (got type NoneType)"),  # of a descriptor that was closed meanwhile
    ValueError("file descriptor cannot be a negative integer (-1)"),
]


@pytest.mark.parametrize("error", RAW, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("verb", ["write", "read"])
def test_whatever_is_raised_is_a_lost_link(verb: str, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> None:
        raise error

    with served(lambda data: b"x") as end:
        link = Link(end.port, 921_600)
        link.write(b"x")
        monkeypatch.setattr(link._port, verb, fail)
        use: Callable[[], object] = (lambda: link.write(b"x")) if verb == "write" else (lambda: link.read(5.0))
        with pytest.raises(LinkLostError, match="check cable and power, then connect again") as lost:
            use()
        assert lost.value.__cause__ is error
        assert link.lost


def test_a_port_that_was_closed_is_a_lost_link() -> None:
    with served(lambda data: b"") as end:
        link = Link(end.port, 921_600)
        link.close()
        for use in (lambda: link.write(b"x"), lambda: link.read(0.1)):
            with pytest.raises(LinkLostError):
                use()


def test_a_port_that_cannot_be_closed_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise OSError(5, "Input/output error")

    with served(lambda data: b"") as end:
        link = Link(end.port, 921_600)
        with monkeypatch.context() as patch:
            patch.setattr(link._port, "close", fail)
            link.close()
        link.close()
