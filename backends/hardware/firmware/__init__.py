"""The reference firmware of a crossbar board in C99, and what builds it for this computer."""
