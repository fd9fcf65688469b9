"""What the bench server sees of an instrument."""

from abc import ABC, abstractmethod


class Instrument(ABC):
    """Takes messages, gives answers; one message at a time."""

    name: str

    @abstractmethod
    def receive(self, message: str) -> bytes:
        """Do one message (a line without its terminator) and return what is sent back, empty where nothing is."""

    @abstractmethod
    def disconnected(self) -> None:
        """Forget what was half received; outputs stay as they are, as those of the real instruments do."""
