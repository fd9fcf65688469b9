"""A board on a byte stream (USB serial, pseudo-terminal, TCP) that speaks ``docs/protocol.md``."""
