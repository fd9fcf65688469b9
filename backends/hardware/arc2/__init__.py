"""ArC TWO, a 64-channel instrument through ``pyarc2`` (extra ``arc2``): protocol-tested, see ``docs/arc2.md``."""
