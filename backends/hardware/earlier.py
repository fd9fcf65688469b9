"""The run before this one, where it ended in the middle of a batch: what became of that is asked, and told.

Runs that were given a journal are resumed from it. Of the others nobody thinks any more: their journals lie in the
state folder of the chip, and the newest is looked at when a process arms the chip first, for the instrument knows
until then. The chip's lock is held meanwhile, so no other process writes there.
"""

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Self, final

from rpudriver.backends.hardware import operations as wire
from rpudriver.backends.hardware.driver import Driver
from rpudriver.backends.hardware.journal import Journal
from rpudriver.backends.hardware.journal_records import Entry, Header, header_of
from rpudriver.backends.hardware.ledger import settle
from rpudriver.errors import JournalError

log = logging.getLogger("rpudriver.hardware")


@contextlib.contextmanager
def asked(folder: Path, here: Path | None, header: Header, driver: Driver) -> Iterator[None]:
    """Find out what became of the last batch of the run before this one, while the chip is armed for this one; tell.

    Nothing that is wrong with its journal keeps the chip from being armed; a link that breaks does.

    Parameters
    ----------
    folder : of journals that nobody chose.
    here : the journal of this run, if it goes on with one: that looks after itself.
    header : of this run; an instrument is not asked for batches of another chip or profile.
    """
    with contextlib.ExitStack() as stack:
        run = None
        with _forgiven():
            run = EarlierRun.find(folder, here, header)
        if run is None:
            yield
            return
        stack.callback(run.close)
        with _forgiven():
            run.settle(driver)
        stack.callback(lambda: log.warning("%s", run))  # also where arming fails: the next one may not find it open
        yield
        with _forgiven():
            run.settle(driver)


@contextlib.contextmanager
def _forgiven() -> Iterator[None]:
    try:
        yield
    except (JournalError, OSError) as error:
        log.warning("what the run before this one left undone cannot be told: %s", error)


@final
class EarlierRun:
    """A run of which nobody knows whether its last batch pulsed devices."""

    def __init__(self, journal: Journal, entry: Entry, ours: bool) -> None:
        self._journal, self._entry, self._ours = journal, entry, ours

    @classmethod
    def find(cls, folder: Path, here: Path | None, header: Header) -> Self | None:
        """Return the last run without a chosen journal, if it ended like that."""
        files = filter(Path.is_file, folder.glob("*.journal"))
        # a journal of its own names its microsecond; file systems may round times to several milliseconds
        newest = max(files, key=lambda path: (path.stat().st_mtime_ns, path.name), default=None)
        if newest is None or (here is not None and newest.samefile(here)):
            return None
        found = header_of(newest)
        if found is None:
            return None  # killed before its first batch
        journal = Journal.resume(newest, found)
        try:
            entry = journal.lookup(journal.batches - 1) if journal.batches else None
            if entry is not None and _open(entry) and _pulsed(entry):
                return cls(journal, entry, replace(found, text="") == replace(header, text=""))
        except BaseException:
            journal.close()
            raise
        journal.close()
        return None

    def settle(self, driver: Driver) -> None:
        """Ask the instrument; to be called before and after arming, as `Ledger.settle`."""
        if self._ours and self._entry.pending and self._entry.ticket is not None:
            settle(self._journal, driver, self._entry)
            self._entry = self._journal.lookup(self._entry.number)

    def close(self) -> None:
        """Let go of its journal."""
        self._journal.close()

    def __str__(self) -> str:
        where = f"the run before this one ended in the middle of batch {self._entry.number} of {self._journal.path}"
        if not _open(self._entry):
            reply = self._entry.reply
            became = "was not done" if reply is None else "hit the current limit" if reply.tripped else "was done"
            return f"{where}, which {became}; it pulses {_pulsed(self._entry)}"
        other = "" if self._ours else " (it has another profile than this run, so the instrument was not asked)"
        return (
            f"{where}; whether that was done is not known{other}: {_pulsed(self._entry)} may have had its pulses. "
            "Read these devices before you rely on them, or go on with that run: keep_journal(that file, resume=True)"
        )


def _open(entry: Entry) -> bool:
    """Return whether its devices may have been pulsed, and nobody has looked."""
    return (entry.pending and entry.ticket is not None) or (entry.uncertain and entry.reread is None)


def _pulsed(entry: Entry) -> str:
    """Return the devices that a batch pulses, for people."""
    return ", ".join(dict.fromkeys(map(str, wire.pulsed(entry.operations))))
