"""Train neural networks in memory: one code for simulated and real resistive crossbar (RPU) chips."""

__version__ = "0.1.0"
