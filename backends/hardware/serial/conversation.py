"""One request, one reply: the same bytes again on silence, and no reply but that of this request."""

import time
from typing import final

from rpudriver.backends.hardware.serial import frames
from rpudriver.backends.hardware.serial.frames import Frame, Splitter
from rpudriver.backends.hardware.serial.link import Link

_GROWTH = 8  # longest wait for a reply, in first waits


@final
class Conversation:
    """Requests over a link.

    A reply counts if its op, session and number are the request's; whatever else comes (late and doubled replies,
    noise) is passed over.
    """

    def __init__(self, link: Link, patience: float) -> None:
        """Talk over `link`; `patience` is how many seconds of silence make a request lost, at first."""
        self._link, self._patience = link, patience
        self._splitter = Splitter()
        self._garbage = b""
        self._echoed = False

    @property
    def garbage(self) -> bytes:
        """What came during the last request and was no frame."""
        return self._garbage + self._splitter.rest

    @property
    def echoed(self) -> bool:
        """Whether the last request came back as it was sent."""
        return self._echoed

    def ask(self, request: Frame, give_up: float, unsure: bool = False) -> Frame | None:
        """Return the reply, None where none came.

        Parameters
        ----------
        give_up : seconds after which there is none.
        unsure : the line may hold half a frame, so a zero goes first.

        Raises
        ------
        LinkLostError
            If the link broke.
        """
        self._garbage, self._echoed = b"", False
        wait, end = self._patience, time.monotonic() + give_up
        data = request.pack()
        self._link.write(b"\0" + data if unsure else data)
        while True:
            reply = self._listen(request, wait, end)
            if reply is not None or time.monotonic() >= end:
                return reply
            self._link.write(b"\0" + data)
            wait = min(2 * wait, _GROWTH * self._patience)

    def _listen(self, request: Frame, wait: float, end: float) -> Frame | None:
        """Wait for the reply until there is silence for so long, or the end."""
        while (left := min(wait, end - time.monotonic())) > 0:
            data = self._link.read(left)
            if not data:
                return None
            for piece in self._splitter.feed(data):
                frame = frames.unpack(piece)
                if frame is None:
                    self._garbage = (self._garbage + piece)[:64]
                elif frame.answers(request):
                    return frame
                elif frame == request:
                    self._echoed = True
        return None
