"""A Keithley 3706A System Switch with 3730 matrix cards (6 x 16) in its TSP language (manual 3700AS-901-01)."""

import re
from collections.abc import Iterable
from typing import Any, final

from rpudriver.backends.hardware.emulator.instruments.status import CommandError
from rpudriver.backends.hardware.emulator.instruments.tsp import TspInstrument, remembered
from rpudriver.backends.hardware.emulator.wiring import CARD_COLUMNS, CARD_ROWS, SLOTS, Wiring

Relay = tuple[int, int, int]  # slot, row, column

_CHANNEL = re.compile(r"([1-6])([1-6])(\d\d)")
_BACKPLANE = re.compile(r"([1-6])9(\d\d)")


@final
class Keithley3706A(TspInstrument):
    """The matrix of the bench: channel ``1203`` is slot 1, row 2, column 3. Backplane relays go nowhere here."""

    name = "3706A"
    model = "3706A"
    identity = "Keithley Instruments Inc., Model 3706A, 4370601, 1.53c"

    def __init__(self, wiring: Wiring) -> None:
        super().__init__()
        self._wiring = wiring
        self._cards = wiring.chip.arrays
        self._forbidden: set[Relay] = set()
        channel = {
            "close": lambda text="", *_: self._change(closed=self._closed | self._allowed(text)),
            "open": lambda text="", *_: self._change(closed=self._closed - self._relays(text)),
            "exclusiveclose": lambda text="", *_: self._change(closed=self._allowed(text)),
            "exclusiveslotclose": self._exclusive_slot_close,
            "getclose": self._get_close,
            "getstate": lambda text="", *_: ",".join(str(int(relay in self._closed)) for relay in self._list(text)),
            "setforbidden": lambda text="", *_: self._forbidden.update(self._relays(text)),
            "clearforbidden": lambda text="", *_: self._forbidden.difference_update(self._relays(text)),
            "getforbidden": lambda text="", *_: self._names_of(self._forbidden & self._relays(text), ","),
            "reset": lambda text="", *_: self._change(closed=self._closed - self._relays(text)),
            "connectrule": remembered(1.0, 0, 2),
            "OFF": 0.0,
            "BREAK_BEFORE_MAKE": 1.0,
            "MAKE_BEFORE_BREAK": 2.0,
        }
        self.offer(
            {
                "channel": self.part("channel", channel),
                "slot": self.array([self._slot(n) for n in range(1, SLOTS + 1)]),
            }
        )

    def reset(self) -> None:
        self._forbidden.clear()
        self._change(set())

    def pass_time(self, seconds: float) -> None:
        """Relays do not mind."""

    def _slot(self, n: int) -> Any:
        idn = f"3730,6x16 High Density Matrix,01.40a,43730{n:02d}" if n <= self._cards else "Empty Slot"
        return self.part(f"slot[{n}]", {"idn": idn})

    # ---- channels -----------------------------------------------------------------------------------------------

    @property
    def _closed(self) -> set[Relay]:
        return set(self._wiring.closed)

    def _change(self, closed: set[Relay]) -> None:
        self._wiring.switch(closed)

    def _allowed(self, text: str) -> set[Relay]:
        """Return the relays of a list that is to be closed."""
        relays = self._relays(text, groups=False)
        if wrong := relays & self._forbidden:
            raise CommandError(1120, f"{self._names_of(wrong, ',')} is forbidden to close")
        return relays

    def _exclusive_slot_close(self, text: str = "", *_: Any) -> None:
        relays = self._allowed(text)
        slots = {slot for slot, _, _ in relays}
        self._change({relay for relay in self._closed if relay[0] not in slots} | relays)

    def _get_close(self, text: str = "", *_: Any) -> str | None:
        return self._names_of(self._closed & self._relays(text), ";") or None

    @staticmethod
    def _names_of(relays: Iterable[Relay], separator: str) -> str:
        return separator.join(f"{slot}{row}{column:02d}" for slot, row, column in sorted(relays))

    def _relays(self, text: Any, groups: bool = True) -> set[Relay]:
        return set(self._list(text, groups))

    def _list(self, text: Any, groups: bool = True) -> list[Relay]:
        """Return the relays of a channel list: ``1101``, ``1101:1105``, ``slot2``, ``allslots``; commas between."""
        if not isinstance(text, str):
            raise CommandError(1120, "a channel list in quotes")
        found: list[Relay] = []
        for part in filter(None, re.split(r"[,;]", text.replace(" ", ""))):
            if groups and (part == "allslots" or re.fullmatch(r"slot[1-6]", part)):
                slots = range(1, self._cards + 1) if part == "allslots" else [int(part[4:])]
                found += [relay for slot in slots for relay in self._card(slot)]
            elif ":" in part:
                first, _, last = part.partition(":")
                ends = self._one(first), self._one(last)
                found += [
                    relay for slot in range(1, SLOTS + 1) for relay in self._card(slot) if ends[0] <= relay <= ends[1]
                ]
            elif not _BACKPLANE.fullmatch(part):
                found.append(self._one(part))
        return found

    def _card(self, slot: int) -> list[Relay]:
        return [(slot, row, column) for row in range(1, CARD_ROWS + 1) for column in range(1, CARD_COLUMNS + 1)]

    def _one(self, text: str) -> Relay:
        found = _CHANNEL.fullmatch(text)
        relay = tuple(int(part) for part in found.groups()) if found else (0, 0, 0)
        if not found or relay[0] > self._cards or not 1 <= relay[2] <= CARD_COLUMNS:
            raise CommandError(1120, f"no channel {text}; {self._cards} cards of {CARD_ROWS} x {CARD_COLUMNS}")
        return relay[0], relay[1], relay[2]
