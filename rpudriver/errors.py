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
