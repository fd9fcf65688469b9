/* Bytes of operations, taken apart without copies. */
#ifndef SAMPLE_H
#define SAMPLE_H

#include <stdbool.h>
#include <stdint.h>

#include "hal.h"
#include "protocol.h"

/* Goes through bytes; `lacking` is set once there were too few. */
struct cursor {
    const uint8_t *at;
    uint32_t left;
    bool lacking;
};

/* Return `count` bytes and go on behind them, NULL where there are not so many. */
const uint8_t *take(struct cursor *cursor, uint32_t count);

struct operation_head {
    uint8_t op, flags;
    struct cursor body;
};

/* Take the head of the next operation; its body is then behind the cursor. */
bool take_operation(struct cursor *cursor, struct operation_head *operation);

struct pulse {
    struct rectangle where;
    uint8_t flags, kind;
    uint16_t samples, repeat;
    uint64_t seed, first;          /* DRAWN */
    uint32_t x_stream, d_stream;
};

bool take_pulse(struct cursor *body, uint8_t flags, struct pulse *pulse);

/* The columns (x) or the rows (d) of a sample. */
struct side {
    uint16_t lines, firing, negatives;
    const uint8_t *fires, *negative, *trains; /* slots, or threshold - 1 of each line that fires */
};

struct sample {
    uint16_t bl;
    struct side x, d;
};

bool take_sample(struct cursor *body, const struct pulse *pulse, struct sample *sample);

/* How many lines of a side have this sign. */
uint16_t lines_of(const struct side *side, bool negative);

bool take_sense(struct cursor *body, uint8_t flags, struct sense *sense);

/* How many lines a vector has on the way in and on the way out. */
uint32_t sense_inputs(const struct sense *sense);
uint32_t sense_outputs(const struct sense *sense);

#endif
