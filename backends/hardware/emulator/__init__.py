"""Emulated chips: the simulator's devices in volts, amperes and nanoseconds, at the end of a real wire."""
