"""Chip profiles: TOML files, one for each chip on its board."""
