"""Chips at the end of a cable: one backend over drivers for a serial board, a SCPI bench and ArC TWO."""
