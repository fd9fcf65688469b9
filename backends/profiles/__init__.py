"""TOML data."""
