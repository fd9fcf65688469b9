"""Strict, frozen pydantic models read from TOML; unknown keys are refused with a suggestion."""
