"""Batches of operations, packed by hand."""

import numpy as np

from rpudriver.backends.hardware.operations import (
    DIFFERENTIAL,
    FLIP,
    OPERATION,
    PULSE,
    PULSE_HEAD,
    READ,
    READ_HEAD,
    SECOND_HEAD,
    TRANSPOSED,
    WAIT,
    WAIT_BODY,
)


def _bits(values):
    return np.packbits(np.asarray(values, bool).reshape(-1), bitorder="little").tobytes()


def pulse(x, d, x_negative, d_negative, *, row=0, column=0, kind=2, flip=False, repeat=1):
    """x ``[samples, columns, bl]``, d ``[samples, rows, bl]``; kind 2 of the profile is ``update``."""
    samples, columns, bl = x.shape
    rows = d.shape[1]
    body = PULSE_HEAD.pack(0, kind, row, rows, column, columns, samples, repeat)
    for b in range(samples):
        body += int(bl).to_bytes(2, "little")
        for slots, negative in ((x[b], x_negative[b]), (d[b], d_negative[b])):
            fires = slots.any(1)
            body += _bits(fires) + _bits(negative[fires]) + _bits(slots[fires])
    return OPERATION.pack(PULSE, FLIP if flip else 0, len(body)) + body


def one_pulse(row=0, column=0, down=False, kind=2, repeat=1):
    one, sign = np.ones((1, 1, 1), bool), np.array([[down]])
    return pulse(one, one, sign, np.zeros((1, 1), bool), row=row, column=column, kind=kind, repeat=repeat)


def read(codes, *, row=0, rows=32, column=0, columns=32, transposed=False, second=None, scale=0):
    codes = np.asarray(codes, np.int8)
    body = READ_HEAD.pack(0, scale, row, rows, column, columns, len(codes))
    flags = TRANSPOSED if transposed else 0
    if second is not None:
        flags |= DIFFERENTIAL
        body += SECOND_HEAD.pack(0, *second)
    body += codes.tobytes()
    return OPERATION.pack(READ, flags, len(body)) + body


def wait(us):
    return OPERATION.pack(WAIT, 0, WAIT_BODY.size) + WAIT_BODY.pack(us)


def output_codes(reply, vectors, outputs):
    """Return the codes of a batch that was one read."""
    assert reply.records[0] == 0
    return np.frombuffer(reply.records[1:], "<i2").reshape(vectors, outputs)
