/* READ: codes in, codes out, a few vectors at a time. */
#include "board.h"
#include "bytes.h"
#include "operations.h"

static int16_t inputs[VECTORS_AT_ONCE * LINES], outputs[VECTORS_AT_ONCE * LINES];

static void spread_vectors(struct cursor *body, uint8_t flags, uint32_t vectors, uint32_t lines)
{
    if (flags & ONE_HOT) {
        for (uint32_t n = 0; n < vectors * lines; n++)
            inputs[n] = 0;
        for (uint32_t n = 0; n < vectors; n++) {
            const uint8_t *const pair = take(body, 4);
            inputs[n * lines + get_u16(pair)] = get_i16(pair + 2);
        }
    } else if (INPUT_BITS <= 8) {
        const uint8_t *const codes = take(body, vectors * lines);
        for (uint32_t n = 0; n < vectors * lines; n++)
            inputs[n] = get_i8(codes + n);
    } else {
        const uint8_t *const codes = take(body, 2 * vectors * lines);
        for (uint32_t n = 0; n < vectors * lines; n++)
            inputs[n] = get_i16(codes + 2 * n);
    }
}

uint32_t read_run(struct cursor *body, uint8_t flags, uint8_t *codes)
{
    struct sense sense = {.vectors = 0};
    uint32_t size = 0;
    take_sense(body, flags, &sense);
    for (uint32_t left = sense.vectors; left; left -= sense.vectors) {
        sense.vectors = left < VECTORS_AT_ONCE ? left : VECTORS_AT_ONCE;
        spread_vectors(body, flags, sense.vectors, sense_inputs(&sense));
        hal_sense(&sense, inputs, outputs);
        for (uint32_t n = 0; n < sense.vectors * sense_outputs(&sense); n++, size += 2)
            put_u16(codes + size, (uint16_t)outputs[n]);
    }
    return size;
}
