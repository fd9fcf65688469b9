"""Instruments of a bench by their command languages; what they answer is worked out, never canned."""
