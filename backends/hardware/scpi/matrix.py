"""What leads to a device: a switch matrix that picks its lines, and a source that opens its transistor.

Each array has a card in the slot of its number. Columns of the card are the bit lines, after them the word lines.
"""

from typing import final

from rpudriver.backends.hardware.profile import Bench, ChipProfile
from rpudriver.backends.hardware.scpi.link import Link
from rpudriver.backends.hardware.scpi.tsp import Tsp
from rpudriver.errors import BoardError, ConfigError

CARD_COLUMNS, SLOTS = 16, 6
GATE_AMPERES = 1e-5  # more than any gate takes


@final
class Matrix:
    """A 3700 with a 6 x 16 card for each array."""

    def __init__(self, link: Link, profile: ChipProfile, bench: Bench) -> None:
        if profile.arrays > SLOTS or profile.rows + profile.columns > CARD_COLUMNS:
            raise ConfigError(
                f"{profile.arrays} arrays of {profile.rows} x {profile.columns} do not fit a switch matrix: at most "
                f"{SLOTS} arrays, rows and columns at most {CARD_COLUMNS} together"
            )
        self._tsp = Tsp(link, ("3706A", "3706"))
        self._bench, self._columns = bench, profile.columns
        self._lines, self._arrays = profile.columns + profile.rows, profile.arrays
        self._closed: tuple[int, int, int] | None = None

    def meet(self) -> str:
        """Return who answers, if it has a card for each array; nothing is changed."""
        found = self._tsp.meet()
        for slot in range(1, self._arrays + 1):
            card = self._tsp.value(f"slot[{slot}].idn")
            if "6x16" not in card:
                raise BoardError(f"slot {slot} of the matrix holds {card!r}: array {slot - 1} needs a 6x16 card there")
        return found

    def closed(self) -> str:
        """Return the relays that are closed, for people."""
        found = self._tsp.value('channel.getclose("allslots")')
        return "" if found == "nil" else found

    def prepare(self) -> None:
        """Open all relays, and forbid those that would lead the source to a gate or the gates' source to a device."""
        self.rest()
        for slot in range(1, self._arrays + 1):
            gates = self._relays(slot, self._bench.source_row, self._columns + 1, self._lines)
            lines = self._relays(slot, self._bench.gate_row, 1, self._columns)
            self._tsp.do(f'channel.setforbidden("{gates},{lines}")')

    def select(self, array: int, row: int, column: int) -> None:
        """Lead to one device; all other relays are open.

        Raises
        ------
        BoardError, LinkLostError
        """
        if self._closed == (array, row, column):
            return
        self._closed, slot = None, array + 1
        line = f"{slot}{self._bench.source_row}{column + 1:02d}"
        gate = f"{slot}{self._bench.gate_row}{self._columns + row + 1:02d}"
        self._tsp.do(f'channel.exclusiveclose("{line},{gate}")')
        self._closed = array, row, column

    def rest(self) -> None:
        """Open all relays, whatever errors there were."""
        self._closed = None
        self._tsp.do('errorqueue.clear() channel.open("allslots")')

    def errors(self) -> list[str]:
        """Empty the error queue."""
        return self._tsp.errors()

    @staticmethod
    def _relays(slot: int, row: int, first: int, last: int) -> str:
        return f"{slot}{row}{first:02d}:{slot}{row}{last:02d}"


@final
class Gates:
    """Channel A of a 2600, which opens transistors."""

    def __init__(self, link: Link) -> None:
        self._tsp = Tsp(link, ("2602B", "2602A", "2602", "2612B", "2636B", "2604B", "2614B"))

    def meet(self) -> str:
        """Return who answers; nothing is changed."""
        return self._tsp.meet()

    def output_on(self) -> bool:
        """Tell whether the output is on."""
        return float(self._tsp.value("smua.source.output")) != 0

    def prepare(self, most: float) -> None:
        """Set range and limit, with the output off."""
        self._tsp.do(
            "errorqueue.clear() smua.reset() smua.source.func=smua.OUTPUT_DCVOLTS "
            f"smua.source.rangev={most:.6g} smua.source.limiti={GATE_AMPERES:.3g}"
        )

    def open(self, volts: float) -> None:
        """Drive the gates that the matrix leads to."""
        self._tsp.do(f"smua.source.levelv={volts:.6g} smua.source.output=1")

    def rest(self) -> None:
        """Switch the output off, whatever errors there were."""
        self._tsp.do("errorqueue.clear() smua.source.output=0 smua.source.levelv=0")

    def errors(self) -> list[str]:
        """Empty the error queue."""
        return self._tsp.errors()
