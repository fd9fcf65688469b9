"""The caller's end of the child process: requests with a deadline, after which the child is killed."""

import contextlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection, Pipe
from typing import Any, final

from rpudriver.backends.hardware.arc2.child import QUEUED
from rpudriver.errors import BoardError, LinkLostError

START_S = 30.0  # for a process to start and import the library, on a busy machine
GRACE_S = 1.0  # after the child should have ended itself


@final
class Child:
    """The process in which the library lives.

    Parameters
    ----------
    library : module to import there, ``pyarc2``.

    Raises
    ------
    BoardError
        If the library cannot be imported.
    LinkLostError
        If the process does not start.
    """

    def __init__(self, library: str) -> None:
        ours, theirs = Pipe()
        command = [sys.executable, "-m", "rpudriver.backends.hardware.arc2.child", str(theirs.fileno()), library]
        # A session of its own: Ctrl-C in a terminal does not reach it.
        self._process = subprocess.Popen(command, pass_fds=(theirs.fileno(),), start_new_session=True)
        theirs.close()
        self._pipe: Connection[Any, Any] = ours
        done, _, words = self._receive(START_S)
        if not done:
            self.kill()
            raise BoardError(f"cannot use {library}: {words}; install it with: pip install 'rpudriver[arc2]'")

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process itself."""
        return self._process

    def ask(self, *request: Any, limit_s: float) -> Any:
        """Send a request and return its result.

        Raises
        ------
        LinkLostError
            If the child does not answer in time, is gone, or failed when the instrument may already have acted. The
            child has ended then, and with it what was queued.
        BoardError
            If it failed before anything was sent; the child has ended all the same.
        """
        with self._ended_after(limit_s + 2 * GRACE_S):
            try:
                self._pipe.send((limit_s, request))
            except OSError as error:
                self.kill()
                raise LinkLostError(f"the process of ArC TWO's library is gone ({error}); connect again") from error
            done, stage, result = self._receive(limit_s + GRACE_S)
        if done:
            return result
        self.kill()
        if stage == QUEUED:
            raise BoardError(f"ArC TWO's library refused: {result}; nothing was sent")
        raise LinkLostError(f"ArC TWO's library failed: {result}; what was in flight is uncertain, connect again")

    def kill(self) -> None:
        """End the process by force, and what the library has queued with it."""
        with contextlib.suppress(OSError):
            self._pipe.close()
        self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):  # in a system call that nothing ends, on a USB fault
            self._process.wait(GRACE_S)

    def release(self, limit_s: float) -> None:
        """Let the child put channels to 0 V and end; by force where it takes too long."""
        with contextlib.suppress(OSError):
            self._pipe.close()
        try:
            self._process.wait(limit_s)
        except subprocess.TimeoutExpired:
            self.kill()

    @contextlib.contextmanager
    def _ended_after(self, limit_s: float) -> Iterator[None]:
        """End the process where a pipe that it does not empty, or half an answer, would hold the caller for ever."""
        timer = threading.Timer(limit_s, self._process.kill)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _receive(self, limit_s: float) -> tuple[bool, str, Any]:
        try:
            if self._pipe.poll(limit_s):
                answer: tuple[bool, str, Any] = self._pipe.recv()
                return answer
            problem = f"no answer within {limit_s:g} s: killed"
        except (EOFError, OSError):
            problem = f"its process ended (pid {self._process.pid}, exit code {self._process.poll()})"
        self.kill()
        raise LinkLostError(f"ArC TWO's library: {problem}; what was in flight is uncertain, connect again")
