"""A Keithley 2450 SourceMeter in its SCPI language (reference manual 2450-901-01)."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import final

import numpy as np

from rpudriver.backends.hardware.emulator.instruments import k2450_buffer as buffers
from rpudriver.backends.hardware.emulator.instruments import k2450_trigger as trigger
from rpudriver.backends.hardware.emulator.instruments.channel import Channel
from rpudriver.backends.hardware.emulator.instruments.instrument import Instrument
from rpudriver.backends.hardware.emulator.instruments.k2450_settings import SETTINGS, Setting, Value
from rpudriver.backends.hardware.emulator.instruments.k2450_sweep import Sweeps
from rpudriver.backends.hardware.emulator.instruments.scpi import (
    CommandTree,
    boolean,
    choice,
    counted,
    number,
    show,
    units,
    unquoted,
)
from rpudriver.backends.hardware.emulator.instruments.status import CommandError, Status, common
from rpudriver.backends.hardware.emulator.wiring import Wiring

IDENTITY = "KEITHLEY INSTRUMENTS,MODEL 2450,04450001,1.7.12b"
LINE_HZ = 50
NAMES = {"VOLT": "voltage", "CURR": "current"}


@final
class Keithley2450(Instrument):
    """The 2450 of the bench.

    Its own times are those of its programme: apertures of ``NPLC`` line cycles, delays of trigger blocks and sweeps.
    """

    name = "2450"

    def __init__(self, wiring: Wiring) -> None:
        self._channel = Channel(wiring, "2450")
        self._status = Status()
        self._model = trigger.TriggerModel()
        self._sweeps = Sweeps(self._model)
        self._tree = CommandTree()
        self._reset()
        for setting in SETTINGS:
            self._tree.add(setting.pattern, partial(self._set, setting))
            self._tree.add(f"{setting.pattern}?", partial(self._query, setting))
        for pattern, handler in self._commands().items():
            self._tree.add(pattern, handler)

    def receive(self, message: str) -> bytes:
        answers: list[str] = []
        try:
            for header, parameters in units(message):
                answer = self._do(header, parameters)
                if header.endswith("?"):
                    answers.append(answer)
        except CommandError as error:  # what stands after a wrong unit is not done
            self._status.report(error.code, error.detail)
        return (";".join(answers) + "\n").encode("ascii") if answers else b""

    def disconnected(self) -> None:
        """Nothing is kept of a connection."""

    def _do(self, header: str, parameters: Sequence[str]) -> str:
        if header.startswith("*"):
            return self._common(header.upper(), ",".join(parameters))
        found = self._tree.find(header)
        if found is None:
            raise CommandError(-113, header)
        handler, numbers = found
        return handler([*numbers, *parameters])

    def _common(self, header: str, argument: str) -> str:
        match header:
            case "*IDN?":
                return IDENTITY
            case "*RST":
                self._reset()
                return ""
            case "*LANG?":
                return "SCPI"
            case "*LANG" | "*TRG":
                return ""
        answer = common(self._status, header, argument)
        if answer is None:
            raise CommandError(-113, header)
        return answer

    # ---- settings -----------------------------------------------------------------------------------------------

    def _reset(self) -> None:
        self._channel.set(output=False)
        self._values: dict[str, Value] = {setting.key: setting.default for setting in SETTINGS}
        self._buffers = {name: buffers.Buffer() for name in ("defbuffer1", "defbuffer2")}
        self._delays: dict[str, float] = {}
        self._model.clear()
        self._sweeps.clear()
        self._apply()

    def _set(self, setting: Setting, parameters: Sequence[str]) -> str:
        counted(parameters, 1, 1)
        value = setting.parse(parameters[0])
        short = setting.key.partition(".")[0]
        if setting.key.endswith(".range"):
            self._values[setting.key.replace(".range", ".autorange")] = False
        if setting.key.endswith(".delay"):
            self._values[setting.key.replace(".delay", ".autodelay")] = False
        if setting.key in ("VOLT.level", "CURR.level") and not self._values[f"{short}.autorange"]:
            span = self._values[f"{short}.range"]
            if abs(value) > 1.05 * span:  # type: ignore[arg-type,operator]
                raise CommandError(-222, f"{parameters[0]} beyond the source range of {span:g}")
        self._values[setting.key] = value
        self._apply()
        return ""

    def _query(self, setting: Setting, parameters: Sequence[str]) -> str:
        counted(parameters, 0, 1)
        if parameters:
            return show({"MIN": setting.low, "MAX": setting.high}[choice(parameters[0], ("MINimum", "MAXimum"))])
        return setting.show(self._values[setting.key])

    def _number(self, key: str) -> float:
        return float(self._values[key])

    def _apply(self) -> None:
        short = str(self._values["function"])
        self._channel.set(
            function=NAMES[short], level=self._number(f"{short}.level"), limit=self._number(f"{short}.limit")
        )

    def _delay(self, key: str, parameters: Sequence[str]) -> str:
        where = f"{key}.{parameters[0]}"
        if len(parameters) == 1:
            return show(self._delays.get(where, 0.0))
        self._delays[where] = number(counted(parameters, 2, 2)[1], 0, 1e4)
        return ""

    # ---- commands -----------------------------------------------------------------------------------------------

    def _commands(self) -> dict[str, Callable[[Sequence[str]], str]]:
        commands: dict[str, Callable[[Sequence[str]], str]] = {
            ":OUTPut[1][:STATe]": self._output,
            ":OUTPut[1][:STATe]?": lambda p: str(int(self._channel.output)),
            ":SOURce[1]:VOLTage:ILIMit[:LEVel]:TRIPped?": lambda p: str(int(self._channel.limited)),
            ":SOURce[1]:CURRent:VLIMit[:LEVel]:TRIPped?": lambda p: str(int(self._channel.limited)),
            "[:SENSe[1]]:AZERo:ONCE": lambda p: "",
            ":READ?": self._read,
            ":MEASure?": self._read,
            ":MEASure:CURRent[:DC]?": partial(self._measure_function, "CURR"),
            ":MEASure:VOLTage[:DC]?": partial(self._measure_function, "VOLT"),
            ":MEASure:RESistance?": partial(self._measure_function, "RES"),
            ":FETCh?": self._fetch,
            ":INITiate[:IMMediate]": self._initiate,
            ":ABORt": lambda p: "",
            ":TRIGger:STATe?": lambda p: f"{self._model.state};{self._model.state};0",
            ":TRIGger:LOAD": self._load,
            ":TRIGger:BLOCk:LIST?": lambda p: self._model.listing(),
            ":SOURce[1]:CONFiguration:LIST:CREate": lambda p: self._sweeps.create(p),
            ":SOURce[1]:CONFiguration:LIST:DELete": lambda p: self._sweeps.delete(p),
            ":SOURce[1]:CONFiguration:LIST:STORe": lambda p: self._sweeps.store(p, self._source_settings()),
            ":SOURce[1]:CONFiguration:LIST:RECall": self._recall,
            ":SOURce[1]:CONFiguration:LIST:SIZE?": lambda p: self._sweeps.size(p),
            ":SYSTem:ERRor[:NEXT]?": self._error,
            ":SYSTem:ERRor:COUNt?": lambda p: str(len(self._status.errors)),
            ":SYSTem:CLEar": self._clear_errors,
            ":SYSTem:LFRequency?": lambda p: str(LINE_HZ),
            ":SYSTem:VERSion?": lambda p: "1996.0",
            ":SYSTem:BEEPer[:IMMediate]": self._beep,
            ":STATus:PRESet": lambda p: "",
            ":STATus:CLEar": lambda p: "",
            **self._trace_commands(),
        }
        for word, short in (("VOLTage", "VOLT"), ("CURRent", "CURR"), ("RESistance", "RES")):
            for root, key in ((f":SOURce[1]:{word}", short), (f"[:SENSe[1]]:{word}", f"sense.{short}")):
                commands[f"{root}:DELay:USER<n>"] = commands[f"{root}:DELay:USER<n>?"] = partial(self._delay, key)
            commands[f":SOURce[1]:LIST:{word}"] = partial(self._sweeps.values, short, False)
            commands[f":SOURce[1]:LIST:{word}:APPend"] = partial(self._sweeps.values, short, True)
            commands[f":SOURce[1]:LIST:{word}:POINts?"] = partial(self._sweeps.points, short)
            commands[f":SOURce[1]:SWEep:{word}:LIST"] = partial(self._sweeps.of_list, short)
            commands[f":SOURce[1]:SWEep:{word}:LINear"] = partial(self._sweeps.linear, short)
        for block in trigger.BLOCKS:
            commands[f":TRIGger:BLOCk:{block}"] = partial(self._block, block)
        return commands

    def _output(self, parameters: Sequence[str]) -> str:
        self._channel.set(output=boolean(counted(parameters, 1, 1)[0]))
        return ""

    def _beep(self, parameters: Sequence[str]) -> str:
        number(counted(parameters, 2, 2)[0], 20, 8000)
        number(parameters[1], 0.001, 100)
        return ""

    def _error(self, parameters: Sequence[str]) -> str:
        code, text = self._status.next_error()
        when = time.strftime("%Y/%m/%d %H:%M:%S.000") if code else "0 0"
        return f'{code},"{text};{1 if code else 0};{when}"'

    def _clear_errors(self, parameters: Sequence[str]) -> str:
        self._status.errors.clear()
        return ""

    def _block(self, name: str, parameters: Sequence[str]) -> str:
        trigger.define(self._model, name, parameters)
        return ""

    def _load(self, parameters: Sequence[str]) -> str:
        template = choice(counted(parameters, 1, 5)[0], ("Empty", "SimpleLoop", "EMPTY", "SIMPLELOOP"))
        if template.upper().startswith("E"):
            self._model.clear()
        else:
            trigger.simple_loop(self._model, parameters[1:])
        return ""

    def _initiate(self, parameters: Sequence[str]) -> str:
        with self._channel.programme():
            self._model.run(self)
        return ""

    # ---- what trigger blocks work on ----------------------------------------------------------------------------

    def _source_settings(self) -> dict[str, Value]:
        return {key: value for key, value in self._values.items() if key.startswith(("VOLT", "CURR", "function"))}

    def _recall(self, parameters: Sequence[str]) -> str:
        counted(parameters, 1, 2)
        self.recall(unquoted(parameters[0]), int(parameters[1]) if len(parameters) > 1 else 1)
        return ""

    def recall(self, name: str, index: int) -> None:
        """Take over an entry of a source configuration list."""
        self._values.update(self._sweeps.entry(name, index))
        self._apply()

    def set_output(self, on: bool) -> None:
        """Switch the output."""
        self._channel.set(output=on)

    def pass_time(self, seconds: float) -> None:
        """Wait, with the source as it is."""
        self._channel.pass_time(seconds)

    def measure_into(self, buffer: str) -> None:
        """Measure once."""
        self._measure(buffer)

    def clear_buffer(self, buffer: str) -> None:
        """Empty a buffer."""
        self._buffer(buffer).entries.clear()

    def take_limit_event(self) -> bool:
        """Return whether the source limit has held since the last time."""
        return self._channel.take_limit_met()

    def log(self, text: str) -> None:
        """Write to the event log: as an event that ``SYSTem:ERRor?`` does not report."""

    # ---- measuring ----------------------------------------------------------------------------------------------

    def _measure(self, buffer_name: str) -> buffers.Entry:
        buffer, short = self._buffer(buffer_name), str(self._values["sense.function"])
        source = str(self._values["function"])
        automatic = not self._values[f"{source}.autodelay"]
        if automatic and self._number(f"{source}.delay"):
            self._channel.pass_time(self._number(f"{source}.delay"))
        aperture = self._number(f"sense.{short}.nplc") / LINE_HZ
        found = self._channel.measure(
            aperture, None if self._values["sense.CURR.autorange"] else self._number("sense.CURR.range")
        )
        resistance = found.volts / found.amperes if found.amperes else buffers.OVERFLOW
        value = {"VOLT": found.volts, "CURR": found.amperes, "RES": resistance}[short]
        if not self._values[f"sense.{short}.autorange"] and abs(value) > 1.05 * self._number(f"sense.{short}.range"):
            value = buffers.OVERFLOW
        readback = {"VOLT": found.volts, "CURR": found.amperes}[source]
        driven = readback if self._values[f"{source}.readback"] else self._number(f"{source}.level")
        status = (buffers.LIMITED if found.limited else 0) | (buffers.OUTPUT_ON if self._channel.output else 0)
        names: dict[str, buffers.Unit] = {"VOLT": "Volt DC", "CURR": "Amp DC", "RES": "Ohm"}
        entry = buffers.Entry(value, names[short], driven, names[source], status, found.time_s)
        buffer.append(entry)
        return entry

    def _read(self, parameters: Sequence[str]) -> str:
        name, elements = self._buffer_and_elements(parameters)
        with self._channel.programme():
            for _ in range(int(self._number("sense.count"))):
                self._measure(name)
        return self._data(self._buffer(name).entries[-1:], name, elements)

    def _measure_function(self, short: str, parameters: Sequence[str]) -> str:
        self._values["sense.function"] = short
        return self._read(parameters)

    def _fetch(self, parameters: Sequence[str]) -> str:
        name, elements = self._buffer_and_elements(parameters)
        if not self._buffer(name).entries:
            raise CommandError(-221, "the buffer is empty")
        return self._data(self._buffer(name).entries[-1:], name, elements)

    def _buffer_and_elements(self, parameters: Sequence[str]) -> tuple[str, Sequence[str]]:
        if not parameters:
            return "defbuffer1", ("READ",)
        return unquoted(parameters[0]), tuple(parameters[1:]) or ("READ",)

    # ---- buffers ------------------------------------------------------------------------------------------------

    def _buffer(self, name: str) -> buffers.Buffer:
        if name not in self._buffers:
            raise CommandError(-224, f"no reading buffer {name}")
        return self._buffers[name]

    def _data(self, entries: Sequence[buffers.Entry], name: str, elements: Sequence[str]) -> str:
        first = self._buffer(name).entries[0] if entries else None
        shown = [buffers.ELEMENTS[word] for word in (self._element(element) for element in elements)]
        return ",".join(one(entry, first) for entry in entries for one in shown if first)

    @staticmethod
    def _element(text: str) -> str:
        short = choice(text, tuple(buffers.ELEMENTS))
        return next(word for word in buffers.ELEMENTS if "".join(c for c in word if not c.islower()) == short)

    def _trace_commands(self) -> dict[str, Callable[[Sequence[str]], str]]:
        return {
            ":TRACe:DATA?": self._trace_data,
            ":TRACe:ACTual?": lambda p: str(len(self._named(p, 0).entries)),
            ":TRACe:CLEar": self._clear,
            ":TRACe:MAKE": self._make,
            ":TRACe:DELete": self._delete,
            ":TRACe:POINts": self._resize,
            ":TRACe:POINts?": lambda p: str(self._named(p, 0).size),
            ":TRACe:TRIGger": lambda p: self._read(p[:1]) and "",
            ":TRACe:STATistics:AVERage?": partial(self._statistic, np.mean),
            ":TRACe:STATistics:MAXimum?": partial(self._statistic, np.max),
            ":TRACe:STATistics:MINimum?": partial(self._statistic, np.min),
            ":TRACe:STATistics:STDDev?": partial(self._statistic, np.std),
        }

    def _named(self, parameters: Sequence[str], at: int) -> buffers.Buffer:
        return self._buffer(unquoted(parameters[at]) if len(parameters) > at else "defbuffer1")

    def _trace_data(self, parameters: Sequence[str]) -> str:
        counted(parameters, 2, 17)
        name, elements = self._buffer_and_elements(parameters[2:])
        most = 10_000_000
        entries = self._buffer(name).between(int(number(parameters[0], 1, most)), int(number(parameters[1], 1, most)))
        return self._data(entries, name, elements)

    def _clear(self, parameters: Sequence[str]) -> str:
        self._named(parameters, 0).entries.clear()
        return ""

    def _make(self, parameters: Sequence[str]) -> str:
        counted(parameters, 2, 3)
        self._buffers[unquoted(parameters[0])] = buffers.Buffer(int(number(parameters[1], 10, 6_875_000)), False)
        return ""

    def _delete(self, parameters: Sequence[str]) -> str:
        name = unquoted(counted(parameters, 1, 1)[0])
        self._buffer(name)
        if name.startswith("defbuffer"):
            raise CommandError(-221, f"{name} stays")
        del self._buffers[name]
        return ""

    def _resize(self, parameters: Sequence[str]) -> str:
        buffer = self._named(parameters, 1)
        buffer.size = int(number(counted(parameters, 1, 2)[0], 10, 6_875_000))
        buffer.entries.clear()
        return ""

    def _statistic(self, of: Callable[[Sequence[float]], float], parameters: Sequence[str]) -> str:
        readings = [entry.reading for entry in self._named(parameters, 0).entries]
        if not readings:
            raise CommandError(-221, "the buffer is empty")
        return f"{float(of(readings)):.6E}"
