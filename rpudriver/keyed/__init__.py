"""The keyed integer generator: every random draw is a function of (seed, stream, step, cell, pulse).

The specification is ``docs/keyed-generator.md``. `arrays` is its plain numpy form, `tensors` the same in torch;
both reproduce the published test vectors bit for bit.
"""
