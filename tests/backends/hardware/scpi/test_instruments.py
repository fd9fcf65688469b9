"""The emulated instruments by their languages: answers are worked out from the devices, errors are queued."""

import pytest

from rpudriver.backends.hardware.emulator.bench import EmulatedBench
from rpudriver.backends.hardware.emulator.instruments.keithley2450 import Keithley2450
from rpudriver.backends.hardware.emulator.instruments.keithley2600 import Keithley2602B
from rpudriver.backends.hardware.emulator.instruments.keithley3706a import Keithley3706A
from rpudriver.backends.hardware.emulator.probes import Probes
from rpudriver.backends.hardware.emulator.process import make_chip
from rpudriver.backends.hardware.emulator.wiring import Wiring
from rpudriver.errors import ConfigError
from tests.backends.hardware.boards import NOISE_FREE


class Table:
    """A bench without sockets, one device selected and its gate open."""

    def __init__(self) -> None:
        self.chip = make_chip("bench-8", NOISE_FREE["preset"], NOISE_FREE["device"], NOISE_FREE["read"])
        wiring = Wiring(Probes(self.chip))
        self.smu, self.gates, self.matrix = Keithley2450(wiring), Keithley2602B(wiring), Keithley3706A(wiring)
        self.tell(self.gates, "smua.source.levelv=1.6 smua.source.output=1")
        self.tell(self.matrix, "channel.exclusiveclose('1103,1310')")  # bit line 3, word line 2

    def tell(self, instrument: Keithley2450 | Keithley2602B | Keithley3706A, message: str) -> str:
        return instrument.receive(message).decode().strip()

    def error(self) -> int:
        return int(self.tell(self.smu, ":SYST:ERR?").split(",")[0])

    def lua_error(self, instrument: Keithley2602B | Keithley3706A) -> float:
        return float(self.tell(instrument, "print(errorqueue.next())").split("\t")[0])

    def weight(self) -> float:
        return float(self.chip.weights(0)[1, 2])


@pytest.fixture
def table() -> Table:
    return Table()


# ---- the 2450 ----------------------------------------------------------------------------------------------------


def test_a_current_is_that_of_the_device(table: Table) -> None:
    table.tell(table.smu, ":SOUR:VOLT:RANG 2;ILIM 4e-4;:SOUR:VOLT 0.2;:SENS:FUNC 'CURR';:OUTP ON")
    assert float(table.tell(table.smu, ":READ?")) == pytest.approx(0.2 * 50e-6, rel=1e-3)
    table.tell(table.gates, "smua.source.levelv=0.3")  # below the threshold of the transistors
    assert float(table.tell(table.smu, ":READ?")) == pytest.approx(0, abs=1e-9)
    table.tell(table.smu, ":SENS:FUNC 'RES'")
    table.tell(table.gates, "smua.source.levelv=1.6")
    assert float(table.tell(table.smu, ":READ?")) == pytest.approx(20e3, rel=1e-3)
    assert table.error() == 0


def test_compound_messages_go_on_where_they_were(table: Table) -> None:
    assert table.tell(table.smu, ":SOUR:VOLT:RANG 20;ILIM 1E-3;:SOUR:VOLT:RANG?;ILIM?;*ESE?") == "20;0.001;0"
    assert table.tell(table.smu, "source:voltage:ilimit 2m;:sour1:volt:ilim:lev?") == "0.002"


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (":NONSENSE 1", -113),
        (":SOURC:VOLT 1", -113),  # neither the short form nor the long one
        (":SOUR:VOLT", -109),
        (":SOUR:VOLT 1,2", -108),
        (":SOUR:VOLT abc", -104),
        (":SOUR:VOLT 300", -222),
        (":SOUR:VOLT nan", -222),
        (":SOUR:VOLT:RANG 2;:SOUR:VOLT 3", -222),  # beyond a fixed source range
        (":SOUR:VOLT:ILIM 2", -222),
        (":OUTP MAYBE", -224),
        (":SOUR:FUNC 'OHM'", -224),
        (":TRIG:LOAD 'Empty';:TRIG:BLOC:NOP 2;:INIT", -221),  # block 1 is missing
        (":TRAC:DATA? 1,5", -222),
    ],
)
def test_wrong_commands_are_queued_as_errors_and_do_nothing(table: Table, message: str, code: int) -> None:
    before = table.tell(table.smu, ":SOUR:VOLT?;:OUTP?")
    assert table.tell(table.smu, message) == ""
    assert table.tell(table.smu, ":SYST:ERR:COUN?") == "1"
    assert table.error() == code
    assert table.error() == 0
    assert table.tell(table.smu, ":SOUR:VOLT?;:OUTP?") == before


def test_the_error_queue_overflows_as_the_standard_says(table: Table) -> None:
    for _ in range(40):
        table.tell(table.smu, ":NONSENSE")
    codes = [table.error() for _ in range(33)]
    assert codes[-2:] == [-350, 0]
    assert int(table.tell(table.smu, "*ESR?")) & 32
    table.tell(table.smu, ":NONSENSE;*CLS")  # what stands after a wrong command is not done
    assert table.error() == -113


def test_compliance_holds_the_source_back(table: Table) -> None:
    table.tell(table.smu, ":SOUR:VOLT:RANG 2;ILIM 5e-6;:SOUR:VOLT 0.2;:SENS:FUNC 'CURR';:OUTP ON")
    assert table.tell(table.smu, ":SOUR:VOLT:ILIM:TRIP?") == "1"
    current, volts, status = table.tell(table.smu, ':READ? "defbuffer1",READ,SOUR,SOURSTAT').split(",")
    assert float(current) == pytest.approx(5e-6, rel=1e-3)
    assert float(volts) == pytest.approx(0.1, rel=1e-3)
    assert int(status) & 32
    table.tell(table.smu, ":SOUR:VOLT:ILIM 4e-4")
    assert table.tell(table.smu, ":SOUR:VOLT:ILIM:TRIP?") == "0"


def test_a_reading_beyond_its_range_overflows(table: Table) -> None:
    table.tell(table.smu, ":SOUR:VOLT:ILIM 4e-4;:SOUR:VOLT 0.2;:SENS:FUNC 'CURR';:SENS:CURR:RANG 1e-6;:OUTP ON")
    assert float(table.tell(table.smu, ":READ?")) == 9.9e37


def test_pulses_have_the_width_that_the_trigger_model_says(table: Table) -> None:
    table.tell(table.smu, ":SOUR:VOLT:RANG 2;ILIM 4e-4;:SOUR:CONF:LIST:CRE 'a'")
    for volts in (0, -1.35):  # a bit line below ground moves up
        table.tell(table.smu, f":SOUR:VOLT {volts};:SOUR:CONF:LIST:STOR 'a'")
    table.tell(table.smu, ":SOUR:VOLT 0")
    for width, pulses, moved in ((1e-3, 3, 3), (2e-3, 4, 8)):
        before = table.weight()
        blocks = ["SOUR:STAT 1,ON", "CONF:REC 2,'a',2", f"DEL:CONS 3,{width}", "CONF:REC 4,'a',1", "DEL:CONS 5,1e-4"]
        blocks += [f"BRAN:COUN 6,{pulses},2", "SOUR:STAT 7,OFF"]
        table.tell(table.smu, ":TRIG:LOAD 'Empty';" + ";".join(f":TRIG:BLOC:{block}" for block in blocks))
        table.tell(table.smu, ":INIT;*WAI")
        assert table.weight() - before == pytest.approx(0.012 * moved, rel=1e-3)
    assert table.error() == 0


def test_sweeps_and_the_simple_loop_fill_a_buffer(table: Table) -> None:
    table.tell(table.smu, ":SOUR:VOLT:RANG 2;ILIM 4e-4;:SENS:FUNC 'CURR';:SENS:CURR:RANG 1e-4")
    table.tell(table.smu, ":SOUR:SWE:VOLT:LIN 0.05,0.2,4,0;:INIT;*WAI")
    found = [float(x) for x in table.tell(table.smu, ":TRAC:DATA? 1,4,'defbuffer1',READ,SOUR").split(",")]
    assert found[1::2] == pytest.approx([0.05, 0.1, 0.15, 0.2])
    assert found[::2] == pytest.approx([50e-6 * volts for volts in found[1::2]], abs=6e-9)
    table.tell(table.smu, ":SOUR:VOLT 0.1;:TRIG:LOAD 'SimpleLoop',5;:INIT;*WAI")
    assert table.tell(table.smu, ":TRAC:ACT?;:OUTP?") == "5;0"
    assert float(table.tell(table.smu, ":TRAC:STAT:AVER?")) == pytest.approx(5e-6, abs=3e-9)
    assert table.error() == 0


def test_volts_that_stand_act_as_long_as_they_stand(table: Table) -> None:
    table.tell(table.smu, ":SOUR:VOLT:RANG 2;ILIM 4e-4;:SOUR:VOLT -1.35;:OUTP ON")
    table.tell(table.smu, ":OUTP OFF")  # some hundred microseconds at least: what write-sleep-write would do
    assert table.weight() > 0


# ---- TSP ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chunk", "code"),
    [
        ("smua.source.levelv = 50", 1101),
        ("smua.source.rangev = 1 smua.source.levelv = 2", 1101),
        ("smua.source.limiti = 0", 1102),
        ("smua.source.nothing = 1", -286),
        ("smua.source.levelv = 'x'", 1115),
        ("for", -285),
        ("io.open('/etc/passwd')", -286),
        ("print.__class__()", -286),
        ("while true do end", -286),
    ],
)
def test_wrong_chunks_are_queued_as_errors(table: Table, chunk: str, code: int) -> None:
    assert table.tell(table.gates, chunk) == ""
    assert table.lua_error(table.gates) == code
    assert table.lua_error(table.gates) == 0


def test_tsp_is_lua(table: Table) -> None:
    assert table.tell(table.gates, "local s = 0 for i = 1, 10 do s = s + i end print(s, nil, true)") == (
        "5.50000e+01\tnil\ttrue"
    )
    for line in ("loadandrunscript", "function twice(x)", "return 2 * x", "end", "endscript"):
        assert table.tell(table.gates, line) == ""
    assert float(table.tell(table.gates, "print(twice(smua.source.levelv))")) == pytest.approx(3.2)


def test_the_second_channel_measures_what_it_drives(table: Table) -> None:
    table.tell(table.matrix, "channel.exclusiveclose('1403,1310')")
    table.tell(table.gates, "smub.source.levelv=0.2 smub.source.limiti=1e-4 smub.source.output=1")
    amperes, volts = map(float, table.tell(table.gates, "print(smub.measure.iv())").split("\t"))
    assert amperes == pytest.approx(1e-5, rel=1e-3)
    assert volts == pytest.approx(0.2)
    table.tell(table.gates, "smub.source.limiti=2e-6")
    assert table.tell(table.gates, "print(smub.source.compliance)") == "true"


# ---- the matrix --------------------------------------------------------------------------------------------------


def test_relays_close_and_open_by_lists(table: Table) -> None:
    m = table.matrix
    table.tell(m, "channel.close('2101:2103,1105')")
    assert table.tell(m, "print(channel.getclose('allslots'))") == "1103;1105;1310;2101;2102;2103"
    table.tell(m, "channel.open('slot2')")
    assert table.tell(m, "print(channel.getclose('slot2'))") == "nil"
    table.tell(m, "channel.setforbidden('1101') channel.close('1101')")
    assert table.lua_error(m) == 1120
    for wrong in ("1117", "1701", "6101", "abc"):  # no such column, row, card, channel
        table.tell(m, f"channel.close('{wrong}')")
        assert table.lua_error(m) == 1120
    table.tell(m, "channel.open('allslots')")
    assert table.tell(m, "print(channel.getclose('allslots'))") == "nil"


def test_two_instruments_on_a_line_are_a_short(table: Table) -> None:
    table.tell(table.matrix, "channel.close('1203')")  # ground
    table.tell(table.smu, ":SOUR:VOLT:RANG 2;ILIM 4e-4;:SOUR:VOLT 0.2;:OUTP ON")
    assert table.tell(table.smu, ":SOUR:VOLT:ILIM:TRIP?") == "1"


def test_a_chip_that_does_not_fit_the_cards_is_refused() -> None:
    with pytest.raises(ConfigError, match="no \\[bench\\] table"):
        EmulatedBench("emulated-64")
    with pytest.raises(ConfigError, match="do not fit the bench"):
        Wiring(Probes(make_chip("emulated-64", "idealised", {}, {})))
