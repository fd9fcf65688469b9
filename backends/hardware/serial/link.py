"""The port of a board: opened for one process, every wait bounded, every way to lose it one error."""

import contextlib
import errno
import fcntl
import os
import select
import termios
from collections.abc import Iterator
from typing import final

import serial

from rpudriver.backends.hardware.serial.capture import RECEIVED, SENT, Capture
from rpudriver.backends.hardware.serial.owner import holder, ports_seen
from rpudriver.errors import BackendError, BoardError, LinkLostError, OwnerError

_CHUNK = 1 << 16  # read at once
_WRITE_S = 10.0  # longest wait for a port to take a frame
_PSEUDO_TERMINALS = "/dev/pts/"
_BUSY = (errno.EBUSY, errno.EAGAIN, errno.EWOULDBLOCK)


@final
class Link:
    """A stream of bytes to a board; open from the beginning."""

    def __init__(self, port: str, baud: int, capture: Capture | None = None) -> None:
        """Open a port: a device, or ``socket://host:port``. No line of the port is raised.

        Raises
        ------
        OwnerError
            If another process has it.
        BoardError
            If there is no such port, or it may not be opened.
        """
        self._name, self._capture = port, capture
        try:
            self._port = _opened(port, baud)
        except (OSError, termios.error, ValueError) as error:
            raise _refused(port, error) from error

    def write(self, data: bytes) -> None:
        """Send bytes.

        Raises
        ------
        LinkLostError
        """
        if self._capture is not None:
            self._capture.note(SENT, data)
        with self._mapped():
            self._port.write(data)

    def read(self, seconds: float) -> bytes:
        """Return what has come, at once if something has, nothing after so many seconds of silence.

        Raises
        ------
        LinkLostError
        """
        with self._mapped():
            if not select.select([self._port.fileno()], [], [], max(0.0, seconds))[0]:
                return b""
            data: bytes = self._port.read(_CHUNK)  # the port's own timeout is 0: what is there, no more
        if self._capture is not None:
            self._capture.note(RECEIVED, data)
        return data

    @property
    def lost(self) -> bool:
        """Whether the port is not open any more."""
        return not self._port.is_open

    def close(self) -> None:
        """Let go of the port."""
        with contextlib.suppress(OSError):  # of a device that is gone already
            self._port.close()

    @contextlib.contextmanager
    def _mapped(self) -> Iterator[None]:
        """The one place where what operating system and pyserial raise becomes `LinkLostError`."""
        try:
            yield
        except (OSError, termios.error, TypeError, ValueError) as error:  # the last two: of a port that was closed
            self.close()
            raise LinkLostError(
                f"the link to the board at {self._name} broke ({error}): check cable and power, then connect again"
            ) from error


def _opened(port: str, baud: int) -> serial.SerialBase:
    found = serial.serial_for_url(port, do_not_open=True, timeout=0, write_timeout=_WRITE_S)
    found.baudrate = baud
    found.exclusive = True  # an flock, taken before anything else is done with the port
    found.dtr = found.rts = False  # many boards start anew, some switch outputs, when these rise
    found.open()
    if os.path.exists(port) and not os.path.realpath(port).startswith(_PSEUDO_TERMINALS):
        # Keeps out programs that ask for no lock. A pseudo-terminal would stay closed for ever if we were killed: it
        # forgets this flag only when its other end closes.
        fcntl.ioctl(found.fileno(), termios.TIOCEXCL)
    return found


def _refused(port: str, error: Exception) -> BackendError:
    """Return what an error on opening means."""
    code = getattr(error, "errno", None)
    if code in _BUSY:
        return OwnerError(f"{port} is in use by {holder(port)}: one program at a time; end that one first")
    if code == errno.EACCES:
        return BoardError(
            f"{port} may not be opened by this user: add the user to the group that owns it (on most systems "
            "`sudo usermod -aG dialout $USER`), then log in anew"
        )
    if code in (errno.ENOENT, errno.ENXIO, errno.ENODEV):
        return BoardError(f"there is no port {port}: check cable and name; {ports_seen()}")
    return BoardError(f"{port} cannot be opened as a serial port ({error}); {ports_seen()}")
