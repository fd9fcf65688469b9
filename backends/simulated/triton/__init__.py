"""The simulated chip's kernels for CUDA devices, in Triton (the extra ``gpu``): `update` pulses, `reads` reads.

The modules import Triton; ask `rpudriver.keyed.accelerator.available` before importing them.
"""
