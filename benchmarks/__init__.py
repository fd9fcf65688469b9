"""Timings of the simulated chip beside plain torch and, where it is installed, aihwkit: ``python -m benchmarks``."""
