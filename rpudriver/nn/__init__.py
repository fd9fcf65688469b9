"""PLACEHOLDER nn."""
