#include "cobs.h"

static void put(struct cobs *cobs, uint8_t byte)
{
    if (cobs->size < cobs->room)
        cobs->data[cobs->size++] = byte;
    else
        cobs->broken = true;
}

static void restart(struct cobs *cobs)
{
    cobs->left = 0;
    cobs->zero_due = false;
    cobs->broken = false;
}

bool cobs_push(struct cobs *cobs, uint8_t byte)
{
    if (byte == 0) {
        const bool whole = cobs->left == 0 && !cobs->broken && cobs->size > 0;
        restart(cobs);
        if (!whole)
            cobs->size = 0;
        return whole;
    }
    if (cobs->left == 0) {
        if (cobs->zero_due)
            put(cobs, 0);
        cobs->left = (uint8_t)(byte - 1);
        cobs->zero_due = byte != 0xFF;
    } else {
        put(cobs, byte);
        cobs->left--;
    }
    return false;
}

uint32_t cobs_block(const uint8_t *data, uint32_t size, uint32_t *at, uint8_t *block)
{
    uint32_t run = 0;
    while (run < 254 && *at + run < size && data[*at + run] != 0) {
        block[run + 1] = data[*at + run];
        run++;
    }
    block[0] = (uint8_t)(run + 1);
    *at += run;
    if (run < 254 || *at == size) /* a zero, the one thought behind the last byte included, is part of the block */
        *at += 1;
    return run + 1;
}
