"""Runs: config, data, training loop, checkpoints and the output folder."""
