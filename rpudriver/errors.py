"""Every error that rpudriver raises on purpose.

    RpuDriverError
    |- ConfigError            a config file, an override or an option that cannot be used (also a ValueError)
    |- DataError              a data set that is missing, truncated or of the wrong kind
    |- CheckpointError        a checkpoint or snapshot that belongs to something else
    |- OutputError            an output folder that holds another run
    |- CalibrationError       a measurement that cannot be evaluated: no numbers, too few reads, nothing moved
    '- BackendError           anything between the algorithm and the chip
       |- StepError           a step that is malformed or out of range; nothing was sent (also a ValueError)
       |- LimitError          a step beyond the armed limits; nothing was sent
       |- NotArmedError       pulses or reads before ``arm()``; nothing was sent
       |- AllocationError     an array that the chip has no room for
       |- LinkLostError       the cable, the instrument or its process is gone; what was in flight is in the journal
       |- BoardError          an instrument that refuses: another chip, firmware or state, a value out of its range
       |- ComplianceError     the current limit was hit while pulsing; outputs are at rest, the rest was not sent
       |- OwnerError          a chip that another process is using
       |- JournalError        a journal that is damaged, belongs to another chip or run, or cannot be written
       '- UnsupportedError    something that this chip cannot do

Messages name the value, what is allowed and the cure.
"""


class RpuDriverError(Exception):
    """Base class: catch this to catch everything raised on purpose."""


class ConfigError(RpuDriverError, ValueError):
    """A config file, an override or an option that cannot be used."""


class DataError(RpuDriverError):
    """A data set that is missing, truncated or of the wrong kind."""


class CheckpointError(RpuDriverError):
    """A checkpoint or snapshot that belongs to another version, preset or array."""


class OutputError(RpuDriverError):
    """An output folder that holds another run."""


class CalibrationError(RpuDriverError):
    """A measurement that cannot be evaluated: no numbers, too few reads, devices that do not move."""


class BackendError(RpuDriverError):
    """Anything that goes wrong between the algorithm and the chip."""


class StepError(BackendError, ValueError):
    """A step that is malformed or out of range; nothing was sent."""


class LimitError(BackendError):
    """A step beyond the limits that were armed; nothing was sent."""


class NotArmedError(BackendError):
    """Pulses or reads before ``arm()``; nothing was sent."""


class AllocationError(BackendError):
    """An array that the chip has no room for."""


class UnsupportedError(BackendError):
    """Something that this chip cannot do."""


class LinkLostError(BackendError):
    """The one error of a link that broke or fell silent: unplugged, timed out, killed at the other end.

    The batch in flight stays open in the journal; the next opening finds out what became of it.
    """


class BoardError(BackendError):
    """An instrument that refuses: another chip or firmware than the profile says, a value out of its range."""


class ComplianceError(BackendError):
    """The current limit was hit while pulsing: outputs are at rest, and nothing after that pulse was sent."""


class OwnerError(BackendError):
    """A chip that another process is using."""


class JournalError(BackendError):
    """A journal that is damaged, belongs to another chip or run, or cannot be written."""
