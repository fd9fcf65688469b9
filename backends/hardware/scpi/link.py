"""A line to one instrument: every wait bounded, every way to lose it one error."""

import contextlib
from collections.abc import Callable
from typing import Any, final

from rpudriver.errors import LinkLostError

PATIENCE_S = 3.0  # beyond what a message takes by itself


@final
class Link:
    """One instrument at a VISA address, opened when it is first asked.

    Parameters
    ----------
    opener : opens a VISA resource, as ``ResourceManager.open_resource`` does.
    address : VISA resource name.
    """

    def __init__(self, opener: Callable[..., Any], address: str, patience: float = PATIENCE_S) -> None:
        self._open, self.address, self._patience = opener, address, patience
        self._resource: Any = None
        self._waiting = False  # an answer may still come

    def ask(self, message: str, seconds: float = 0.0) -> str:
        """Send a message and return its answer.

        Parameters
        ----------
        seconds : that the instrument needs for it.

        Raises
        ------
        LinkLostError
            If no answer comes, whatever the reason.
        """
        try:
            if self._waiting or not self._usable():
                self.close()  # a late answer to an earlier message must not be taken for that to this one
            if self._resource is None:
                self._resource = self._opened()
            self._resource.timeout = 1000 * (self._patience + seconds)
            self._waiting = True
            answer: str = self._resource.query(message)
            self._waiting = False
        except Exception as error:  # VISA libraries raise errors of all kinds
            self.close()
            raise LinkLostError(
                f"{self.address}: no answer within {self._patience + seconds:g} s to {message[:60]!r} ({error}); check "
                "cable, power and whether another program is connected, then connect again"
            ) from error
        return answer.strip()

    def _opened(self) -> Any:
        milliseconds = int(1000 * self._patience)
        resource = self._open(self.address, open_timeout=milliseconds, timeout=milliseconds)
        resource.read_termination = resource.write_termination = "\n"
        return resource

    def _usable(self) -> bool:
        """Tell whether the resource is still open: at the end of a process PyVISA closes all before we idle."""
        try:
            return self._resource is not None and self._resource.session is not None
        except Exception:  # PyVISA's way to say no
            return False

    def close(self) -> None:
        """Let go of the instrument; closing twice is harmless."""
        resource, self._resource, self._waiting = self._resource, None, False
        if resource is not None:
            with contextlib.suppress(Exception):  # gone already
                resource.close()
