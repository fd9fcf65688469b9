/* Pulse trains drawn on the board: docs/keyed-generator.md, in integers. */
#ifndef TRAINS_H
#define TRAINS_H

#include <stdint.h>

struct key {
    uint32_t k0, k1;
};

struct key key_of(uint64_t seed, uint32_t stream, uint64_t step);

/* Slots 32 word .. 32 word + 31 of a line, a bit each: set where the slot's number is at most `highest`, which is the
 * threshold - 1. */
uint32_t train_word(struct key key, uint32_t line, uint32_t highest, uint32_t word);

#endif
