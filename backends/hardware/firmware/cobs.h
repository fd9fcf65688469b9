/* Consistent overhead byte stuffing (Cheshire and Baker 1999): frames without a zero byte inside. */
#ifndef COBS_H
#define COBS_H

#include <stdbool.h>
#include <stdint.h>

/* Takes a frame apart byte by byte as it arrives, into a buffer that the caller owns. */
struct cobs {
    uint8_t *data;
    uint32_t room, size;
    uint8_t left;   /* bytes that are still due of the block */
    bool zero_due;  /* a zero lies between this block and the next */
    bool broken;    /* too long: dropped up to the next zero */
};

/* Take a byte; return whether it ends a frame of `size` bytes. The next byte after a frame starts a new one. */
bool cobs_push(struct cobs *cobs, uint8_t byte);

/* Write the block of at most 255 bytes that stands for what lies from *at on, move *at behind it and return its length;
 * *at is beyond `size` when nothing is left. */
uint32_t cobs_block(const uint8_t *data, uint32_t size, uint32_t *at, uint8_t *block);

#endif
