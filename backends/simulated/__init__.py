"""Simulated chips: the physics of devices and periphery, and a fast batched backend in torch."""
