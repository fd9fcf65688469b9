"""The double has the signatures of the library itself."""

import inspect

import pytest

from rpudriver.backends.hardware.arc2.driver import VERSION
from tests.backends.hardware.arc2 import recording_arc2

MISSING = "pyarc2 is not installed: pip install 'rpudriver[arc2]'"
METHODS = (
    "__init__",
    "config_channels",
    "connect_to_gnd",
    "delay",
    "execute",
    "finalise_operation",
    "ground_all",
    "pick_one",
    "pulse_slice_fast_open",
    "read_slice_open_deferred",
    "wait",
)


def shape(method):
    """Return names, kinds and defaults of the parameters; what is positional only is ``self`` and says nothing."""
    parameters = list(inspect.signature(method).parameters.values())[1:]
    return [(one.name, one.kind.name, one.default) for one in parameters]


@pytest.mark.parametrize("name", METHODS)
def test_methods(name):
    library = pytest.importorskip("pyarc2", reason=MISSING)
    assert shape(getattr(recording_arc2.Instrument, name)) == shape(getattr(library.Instrument, name))


def test_what_else_the_child_uses():
    library = pytest.importorskip("pyarc2", reason=MISSING)
    assert isinstance(library.find_ids(), list)
    assert library.LIBARC2_VERSION.startswith(VERSION)
    assert {"LIBARC2_VERSION", "find_ids"} <= set(dir(library))
    assert library.IdleMode.SoftGnd.value == recording_arc2.IdleMode.SoftGnd.value
    assert library.DataMode.All is not None
    assert library.ReadType.Current is not None
    assert issubclass(library.ArC2Error, Exception)


def test_every_method_that_the_child_calls_is_checked_here():
    from rpudriver.backends.hardware.arc2 import child

    source = inspect.getsource(child)
    called = {name for name in dir(recording_arc2.Instrument) if f"instrument.{name}(" in source}
    assert called
    assert called <= set(METHODS)
    assert "set_channel_range" not in source
