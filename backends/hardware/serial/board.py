"""The driver of a serial board: sessions, numbers and what silence means, as ``docs/protocol.md`` has them."""

import logging
import secrets
from dataclasses import replace
from pathlib import Path
from typing import final

from rpudriver.backends.hardware.driver import Driver, Fate, Identity, Reply, Settings, StaleTicketError, Ticket
from rpudriver.backends.hardware.profile import ChipProfile
from rpudriver.backends.hardware.serial import hello, refusals
from rpudriver.backends.hardware.serial.arming import pack_settings
from rpudriver.backends.hardware.serial.capture import Capture
from rpudriver.backends.hardware.serial.conversation import Conversation, Heard
from rpudriver.backends.hardware.serial.frames import MAJOR, Frame, Op, following
from rpudriver.backends.hardware.serial.hello import Capability, Hello
from rpudriver.backends.hardware.serial.link import Link
from rpudriver.backends.hardware.serial.owner import ports_seen
from rpudriver.backends.hardware.serial.refusals import Reason, Status
from rpudriver.errors import BoardError, LinkLostError

_log = logging.getLogger("rpudriver")
ATTEMPTS = 3  # to arm a board that something else happens to at the same time


@final
class SerialBoard(Driver):
    """A board on a serial port.

    A board that its watchdog cut off is armed again by the next batch, unless somebody idled it: so no thread has to
    keep it awake while the host thinks.
    """

    def __init__(
        self,
        port: str,
        profile: ChipProfile,
        *,
        baud: int = 921_600,
        patience: float = 0.25,
        give_up: float = 10.0,
        capture: Path | None = None,
    ) -> None:
        """Name a board; `connect` opens the port.

        Parameters
        ----------
        port : a device (``/dev/ttyACM0``), or ``socket://host:port``.
        baud : of a real serial line; USB devices and pseudo-terminals take any.
        patience : seconds of silence after which a request is sent again; it doubles up to eight times that.
        give_up : seconds after which a silent board is a lost link.
        capture : file for a record of all bytes (`rpudriver.backends.hardware.serial.capture`).
        """
        self._port, self._profile, self._baud = port, profile, baud
        self._patience, self._give_up = patience, give_up
        self._capture = None if capture is None else Capture(capture, port)
        self._link: Link | None = None
        self._talk: Conversation | None = None
        self._opened_before = False
        self._unnumbered = secrets.randbits(32)  # so that replies to a process before this one are not taken for ours
        self._board: Hello | None = None  # who was accepted; None again where the link is lost
        self._boot = self._last = 0
        self._settings: Settings | None = None  # set while the board is meant to be armed

    def connect(self) -> Identity:
        board = self._refresh()
        _log.info("%s: chip %s, firmware %s, %d pulses", self._port, board.chip, board.firmware.hex(), board.pulses)
        return Identity(
            chip=board.chip,
            firmware=f"{board.firmware.hex()}, protocol {board.major}.{board.minor}",
            session=board.boot,
            armed=board.armed,
            reason=refusals.reason_words(board.reason),
            pulses=board.pulses,
        )

    @property
    def board(self) -> Hello:
        """What the board said of itself: capabilities and limits."""
        if self._board is None:
            raise BoardError(f"no board is connected at {self._port}: connect() first")
        return self._board

    @property
    def largest(self) -> tuple[int, int]:
        return self.board.max_request, self.board.max_reply

    @property
    def draws_trains(self) -> bool:
        return Capability.DRAWN in self.board.capabilities

    def arm(self, settings: Settings) -> None:
        self._settings = None
        if self._board is None and self._boot:
            self._refresh()  # the link was lost since
        for _ in range(ATTEMPTS):
            reply = self._arm(settings)
            if reply.status not in (Status.SEQ_REUSE, Status.SEQ_GAP):
                break
            self._refresh()  # a batch that was given up has arrived after all and has the number
        if reply.status != Status.OK:
            raise refusals.error("arming", reply.status, reply.payload, "kind")
        self._settings = settings

    def stamp(self, operations: bytes) -> Ticket:
        frame = self._frame(following(self._last), operations)
        return Ticket(frame.session, frame.seq, frame.crc())

    def run(self, ticket: Ticket, operations: bytes) -> Reply:
        request = replace(self._frame(ticket.seq, operations), session=ticket.session)
        if request.crc() != ticket.crc:
            raise BoardError(f"batch {ticket.seq} has another ticket than its operations: stamp these operations first")
        reply = self._ask(request, f"batch {ticket.seq}")
        asleep = reply.status == Status.SAFE and refusals.reason_of(reply.payload) == Reason.WATCHDOG
        if not asleep or self._settings is None:
            return self._outcome(request, reply)
        self._wake(ticket, self._settings)
        raise StaleTicketError(
            f"batch {ticket.seq} was not done: the board's watchdog had cut it off, and arming it again took the "
            f"number; if that goes on, lengthen timing.watchdog_s = {self._profile.timing.watchdog_s:g}"
        )

    def settle(self, ticket: Ticket, operations: bytes) -> Reply | Fate:
        board = self._refresh()
        if board.boot != ticket.session:
            return Fate.UNKNOWN
        if following(board.last_seq) == ticket.seq:
            return Fate.NOT_YET
        if board.last_seq != ticket.seq:
            return Fate.UNKNOWN  # other batches came after it, or after what has its number
        if board.last_crc != ticket.crc:
            return Fate.NOT_DONE  # an ARM has its number, say
        request = self._frame(ticket.seq, operations)
        return self._outcome(request, self._ask(request, f"batch {ticket.seq}"))  # the kept reply comes

    def idle(self) -> None:
        self._settings = None
        request = self._plain(Op.IDLE)
        reply = self._talking().ask(request, min(self._give_up, 2.0), unsure=True)
        if reply is None:
            raise LinkLostError(
                f"the board at {self._port} does not answer: its watchdog puts the outputs to rest by itself "
                f"{self._profile.timing.watchdog_s:g} s after the last frame; check them, and cable and power"
            )
        if reply.status != Status.OK:
            raise refusals.error("idling", reply.status, reply.payload)
        _log.info("%s: idle", self._port)

    def close(self) -> None:
        if self._link is not None:
            self._link.close()
        self._link = self._talk = None
        if self._capture is not None:
            self._capture.close()

    def _wake(self, ticket: Ticket, settings: Settings) -> None:
        """Arm again; the number that a refused batch had goes to this."""
        _log.info("%s: armed again after a pause longer than its watchdog, for batch %d", self._port, ticket.seq)
        reply = self._arm(settings)
        if reply.status in (Status.SEQ_REUSE, Status.SEQ_GAP):
            raise self._lost(f"batch {ticket.seq} may have been done while it was thought lost; it is to be settled")
        if reply.status != Status.OK:
            raise refusals.error("arming again", reply.status, reply.payload, "kind")

    def _outcome(self, request: Frame, reply: Frame) -> Reply:
        """Return what a reply to RUN says, or raise it."""
        if reply.status in (Status.OK, Status.COMPLIANCE):
            self._last = request.seq
            tripped = reply.status == Status.COMPLIANCE
            return Reply(reply.payload[1:] if tripped else reply.payload, tripped)  # first how many were done
        if reply.status == Status.SEQ_GAP:
            raise self._lost(f"the board has another number than batch {request.seq}, which is to be settled")
        raise refusals.error(f"batch {request.seq}", reply.status, reply.payload)

    def _arm(self, settings: Settings) -> Frame:
        request = Frame(Op.ARM, self.board.boot, following(self._last), pack_settings(settings))
        reply = self._ask(request, "arming")
        if reply.status == Status.OK:
            self._last = request.seq
        return reply

    def _ask(self, request: Frame, doing: str) -> Frame:
        """Return the reply to a numbered request; silence and a restarted board are a lost link."""
        try:
            reply = self._talking().ask(request, self._give_up)
        except LinkLostError:
            self._board = None
            raise
        if reply is None:
            raise self._lost(f"{doing}: no reply from the board within {self._give_up:g} s; check cable and power")
        if reply.status == Status.SESSION:
            raise self._lost(f"{doing}: the board has restarted")
        return reply

    def _lost(self, what: str) -> LinkLostError:
        """Return the error; until `connect` or `settle` the driver does not know where the board stands."""
        self._board = None
        return LinkLostError(f"{self._port}: {what}; connect again")

    def _refresh(self) -> Hello:
        """Go on from what the board says of itself, if it is the one of the profile."""
        self._board = None
        board = self._meet()
        hello.check_profile(board, self._profile)
        if board.boot != self._boot:
            self._settings = None  # it has restarted: whoever armed it has to know
        self._board, self._boot, self._last = board, board.boot, board.last_seq
        return board

    def _meet(self) -> Hello:
        """Return who answers, of whatever chip, if it is a board of this version."""
        nonce, talk = secrets.randbits(32), self._talking()
        request = self._plain(Op.HELLO, hello.request(nonce))
        reply = talk.ask(request, self._give_up, unsure=True)
        if reply is None:
            raise self._nobody(talk.heard)
        if reply.version != MAJOR:
            hello.check_version(reply.version)
        if reply.status != Status.OK:
            raise refusals.error("the greeting", reply.status, reply.payload)
        board = Hello.unpack(reply.payload)
        if board is None or board.nonce != nonce:
            raise BoardError(f"{self._port} answers, but not as a rpudriver board: its greeting is malformed")
        hello.check_version(board.major)
        return board

    def _nobody(self, heard: Heard) -> LinkLostError | BoardError:
        """Return what it means that no board answers the greeting."""
        if heard.echoed:
            return BoardError(
                f"{self._port} answers, but not as a rpudriver board: it sends back what it is sent, as a modem or a "
                f"loopback plug does; choose another port; {ports_seen()}"
            )
        if heard.babble:
            return BoardError(
                f"{self._port} answers, but not as a rpudriver board (first bytes: {heard.garbage.hex(' ')}): "
                f"choose another port, or another baud rate than {self._baud}; {ports_seen()}"
            )
        return LinkLostError(
            f"nothing answers at {self._port} within {self._give_up:g} s: is the board powered, and is this its port? "
            f"{ports_seen()}"
        )

    def _frame(self, seq: int, operations: bytes) -> Frame:
        return Frame(Op.RUN, self.board.boot, seq, operations)

    def _plain(self, op: Op, payload: bytes = b"") -> Frame:
        """Return a request without a number of its own: seq only tells its reply from others."""
        self._unnumbered = (self._unnumbered + 1) % 2**32
        return Frame(op, 0, self._unnumbered, payload)

    def _talking(self) -> Conversation:
        """Return the conversation on the open port; open it where it is not, or not any more."""
        if self._link is None or self._link.lost or self._talk is None:
            self._link = self._open()
            self._talk = Conversation(self._link, self._patience)
        return self._talk

    def _open(self) -> Link:
        try:
            link = Link(self._port, self._baud, self._capture)
        except BoardError as error:
            if not self._opened_before:
                raise
            raise LinkLostError(f"the board at {self._port} is gone: {error}") from error  # unplugged, say
        self._opened_before = True
        return link
