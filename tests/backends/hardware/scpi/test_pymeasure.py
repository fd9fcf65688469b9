"""Drivers of another library, unmodified, on our instruments: that is how we know that these speak the language."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from rpudriver.backends.hardware.emulator.bench import EmulatedBench
from tests.backends.hardware.boards import NOISE_FREE
from tests.backends.hardware.scpi.benches import ask

keithley = pytest.importorskip("pymeasure.instruments.keithley", reason="pip install pymeasure: it is optional here")


@pytest.fixture(scope="module")
def bench() -> Iterator[EmulatedBench]:
    with EmulatedBench(**NOISE_FREE) as opened:
        ask(opened.options["matrix"], "channel.exclusiveclose('1101,1309') print(1)")
        ask(opened.options["gates"], "smua.source.levelv=1.6 smua.source.output=1 print(1)")
        yield opened


def opened(kind: Any, address: str) -> Any:
    return kind(address, visa_library="@py", read_termination="\n", write_termination="\n")


@pytest.fixture
def smu(bench: EmulatedBench) -> Any:
    driver = opened(keithley.Keithley2450, bench.options["source"])
    driver.reset()
    yield driver
    driver.shutdown()
    assert not driver.source_enabled
    driver.adapter.close()


@pytest.fixture
def sourcemeter(bench: EmulatedBench) -> Any:
    driver = opened(keithley.Keithley2600, bench.options["gates"])
    yield driver
    driver.adapter.close()


def test_2450_measures_a_device(smu: Any) -> None:
    assert "2450" in smu.id
    smu.apply_voltage(voltage_range=2, compliance_current=4e-4)
    smu.measure_current(nplc=0.1, current=1e-3, auto_range=False)
    smu.source_voltage = 0.2
    assert not smu.source_enabled
    smu.enable_source()
    assert smu.source_enabled
    assert smu.current == pytest.approx(0.2 * 50e-6, rel=5e-3)
    assert smu.check_errors() == []


def test_2450_settings_come_back(smu: Any) -> None:
    smu.source_mode = "voltage"
    smu.source_voltage_range = 20
    smu.source_voltage = 0.15
    smu.compliance_current = 1e-5
    smu.current_nplc = 0.5
    smu.current_range = 1e-4
    smu.source_voltage_delay = 0.002
    found = (
        smu.source_mode, smu.source_voltage_range, smu.source_voltage, smu.compliance_current,
        smu.current_nplc, smu.current_range, smu.source_voltage_delay,
    )  # fmt: skip
    assert found == ("voltage", 20, 0.15, 1e-5, 0.5, 1e-4, 0.002)
    assert smu.check_errors() == []


def test_2450_sources_a_current(smu: Any) -> None:
    smu.apply_current(current_range=1e-4, compliance_voltage=0.5)
    smu.measure_voltage(nplc=0.1, voltage=2, auto_range=False)
    smu.source_current = 2e-6
    smu.enable_source()
    assert smu.voltage == pytest.approx(2e-6 / 50e-6, rel=1e-3)
    smu.source_current = 1e-4  # 2 V: held at 0.5
    assert smu.voltage == pytest.approx(0.5, rel=1e-3)
    smu.ramp_to_current(0.0, steps=3, pause=0.0)
    assert smu.check_errors() == []


def test_2450_reports_what_is_wrong(smu: Any) -> None:
    smu.write(":SOUR:VOLT:RANG 2;:SOUR:VOLT 5")
    code, text = smu.next_error[:2]
    assert int(code) == -222
    assert "range" in text


def test_2600_drives_the_gates_and_measures(sourcemeter: Any, bench: EmulatedBench) -> None:
    gate, line = sourcemeter.ChA, sourcemeter.ChB
    gate.apply_voltage(voltage_range=6, compliance_current=1e-3)
    gate.source_voltage = 1.6
    gate.source_output = "ON"
    assert gate.source_output == "ON"
    assert gate.source_mode == "voltage"
    assert gate.source_voltage == pytest.approx(1.6)
    line.apply_voltage(voltage_range=1, compliance_current=0.001)
    line.measure_current(nplc=0.1, current=1e-3, auto_range=False)
    line.source_voltage = 0.2
    line.source_output = "ON"
    assert line.current == pytest.approx(0, abs=1e-7)  # nothing leads from there to a device
    ask(bench.options["matrix"], "channel.exclusiveclose('1401,1309') print(1)")
    assert line.current == pytest.approx(1e-5, rel=5e-3)
    assert line.voltage == pytest.approx(0.2)
    assert line.resistance == pytest.approx(20e3, rel=5e-3)
    line.source_output = "OFF"
    ask(bench.options["matrix"], "channel.exclusiveclose('1101,1309') print(1)")
    assert float(sourcemeter.next_error[0]) == 0


def test_2600_refuses_what_pymeasure_sends_rounded(sourcemeter: Any) -> None:
    sourcemeter.ChB.compliance_current = 1e-7  # goes out as 0.000000
    assert int(sourcemeter.next_error[0]) == 1102
    assert sourcemeter.ChB.compliance_current == pytest.approx(0.001)
    assert float(sourcemeter.next_error[0]) == 0
    assert np.isfinite(sourcemeter.ChB.current)
