"""One request, one reply: the same bytes again on silence, and no reply but that of this request."""

import time
from typing import final

from rpudriver.backends.hardware.serial import frames
from rpudriver.backends.hardware.serial.frames import Frame, Splitter
from rpudriver.backends.hardware.serial.link import Link

_GROWTH = 8  # longest wait for a reply, in first waits
_ENOUGH = 3  # noises in a row that are no accident: a cable that damages 3 frames of 100 does this once in 30 000


@final
class Heard:
    """What came in place of a reply."""

    def __init__(self) -> None:
        self.garbage = b""  # the beginning of what was no frame
        self.echoed = False  # the request came back as it was sent
        self._noisy = self._other = 0  # tries that got noise and nothing else, and other tries
        self._endless = False

    @property
    def babble(self) -> bool:
        """Whether there was noise every time, or without end."""
        return self._other == 0 and (self._noisy >= _ENOUGH or self._endless)

    def note(self, garbage: bytes, frames_too: bool, endless: bool) -> None:
        """Add what one try got."""
        noise = bool(garbage) and not frames_too
        self.garbage = (self.garbage + garbage)[:16]
        self._noisy += noise
        self._other += not noise
        self._endless |= endless


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
        self.heard = Heard()  # during the last request

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
        self.heard = Heard()
        data = request.pack()  # before the clock starts: the first frame of a process loads compiled code
        wait, end = self._patience, time.monotonic() + give_up
        self._link.write(b"\0" + data if unsure else data)
        while True:
            reply = self._listen(request, wait, end)
            if reply is not None or time.monotonic() >= end:
                return reply
            self._link.write(b"\0" + data)
            wait = min(2 * wait, _GROWTH * self._patience)

    def _listen(self, request: Frame, wait: float, end: float) -> Frame | None:
        """Wait for the reply until there is silence for so long, or the end."""
        garbage, others, silent = b"", False, False
        while not silent and (left := min(wait, end - time.monotonic())) > 0:
            data = self._link.read(left)
            silent = not data
            for piece in self._splitter.feed(data):
                frame = frames.unpack(piece)
                if frame is None:
                    garbage += piece[:16]
                elif frame.answers(request):
                    return frame
                else:
                    others = True
                    self.heard.echoed |= frame == request
        self.heard.note(garbage + self._splitter.rest[:16], others, endless=not silent)
        return None
