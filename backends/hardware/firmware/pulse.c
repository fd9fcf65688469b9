/* PULSE: trains become slots, slots become pulses. */
#include "board.h"
#include "bytes.h"
#include "counters.h"
#include "operations.h"
#include "trains.h"

/* A side of a sample, spread out: which lines of the array fire in each slot, and which have which sign. */
struct spread {
    uint8_t slots[MAX_BL][LINE_BYTES];
    uint8_t signs[2][LINE_BYTES]; /* positive, negative */
};

static struct spread x, d;
static uint8_t fired[SLOTS_AT_ONCE * SLOT_BYTES];

static void clear(uint8_t *bytes, uint32_t count)
{
    for (uint32_t n = 0; n < count; n++)
        bytes[n] = 0;
}

/* Return up to 32 slots of a line, a bit each. */
static uint32_t slots_word(const struct side *side, const struct key *key, uint32_t line, uint32_t number, uint32_t bl,
                           uint32_t word)
{
    const uint32_t count = bl - 32 * word < 32 ? bl - 32 * word : 32;
    uint32_t slots = 0;
    if (key)
        return train_word(*key, line, get_u32(side->trains + 4 * number), word) & 0xFFFFFFFFu >> (32 - count);
    for (uint32_t n = 0; n < count; n++)
        slots |= (uint32_t)get_bit(side->trains, number * bl + 32 * word + n) << n;
    return slots;
}

/* `origin` is the array's line that line 0 of the rectangle is; `key` is that of drawn trains, else null. */
static void spread_out(const struct side *side, uint32_t bl, uint32_t origin, const struct key *key, struct spread *spread)
{
    uint32_t number = 0;
    clear(spread->slots[0], bl * LINE_BYTES);
    clear(spread->signs[0], sizeof spread->signs);
    for (uint32_t line = 0; line < side->lines; line++) {
        if (!get_bit(side->fires, line))
            continue;
        set_bit(spread->signs[get_bit(side->negative, number)], origin + line);
        for (uint32_t word = 0; 32 * word < bl; word++) {
            uint32_t slots = slots_word(side, key, line, number, bl, word);
            for (uint32_t slot = 32 * word; slots; slots >>= 1, slot++)
                if (slots & 1)
                    set_bit(spread->slots[slot], origin + line);
        }
        number++;
    }
}

/* Write the lines of a side that fire in a slot of a phase; return how many they are. */
static uint32_t lines_firing(const struct spread *spread, int negative, uint32_t slot, uint8_t *bits, uint32_t bytes)
{
    for (uint32_t n = 0; n < bytes; n++)
        bits[n] = spread->slots[slot][n] & spread->signs[negative][n];
    return count_ones(bits, bytes);
}

static void send(uint16_t array, const struct kind *kind, uint32_t count, uint64_t pulses)
{
    counters_add(array, pulses);
    hal_fire(array, fired, count, kind->width_ns, kind->gap_ns);
}

/* Fire the cross-points of a slot one after the other; `count` of them are waiting to be sent. */
static uint32_t fire_apart(uint16_t array, const struct kind *kind, const uint8_t *slot, uint32_t count)
{
    for (uint32_t row = 0; row < ROWS; row++)
        for (uint32_t column = 0; get_bit(slot, row) && column < COLUMNS; column++) {
            uint8_t *const bits = fired + count * SLOT_BYTES;
            if (!get_bit(slot + ROW_BYTES, column))
                continue;
            clear(bits, SLOT_BYTES);
            set_bit(bits, row);
            set_bit(bits + ROW_BYTES, column);
            if (++count == SLOTS_AT_ONCE) {
                send(array, kind, count, count);
                count = 0;
            }
        }
    return count;
}

/* Lines that fire together would take floating ones along: how far depends on how many of either side there are. */
static void fire_phase_apart(uint16_t array, const struct kind *kind, uint32_t bl, int x_negative, int d_negative)
{
    uint8_t bits[SLOT_BYTES];
    uint32_t count = 0;
    for (uint32_t slot = 0; slot < bl; slot++)
        if (lines_firing(&d, d_negative, slot, bits, ROW_BYTES) &&
            lines_firing(&x, x_negative, slot, bits + ROW_BYTES, COLUMN_BYTES))
            count = fire_apart(array, kind, bits, count);
    if (count)
        send(array, kind, count, count);
}

static void fire_phase(uint16_t array, const struct kind *kind, uint32_t bl, int x_negative, int d_negative)
{
    uint32_t slot = 0;
    while (slot < bl) {
        uint64_t pulses = 0;
        uint32_t count = 0;
        for (; slot < bl && count < SLOTS_AT_ONCE; slot++, count++) {
            uint8_t *const bits = fired + count * SLOT_BYTES;
            const uint32_t rows = lines_firing(&d, d_negative, slot, bits, ROW_BYTES);
            pulses += rows * lines_firing(&x, x_negative, slot, bits + ROW_BYTES, COLUMN_BYTES);
        }
        send(array, kind, count, pulses);
    }
}

/* The pairs of signs cannot share a slot: each that has lines on both sides is a phase of its own. */
static void fire_sample(const struct pulse *pulse, const struct kind *kind, const struct sample *sample)
{
    static const uint8_t ORDER[4][2] = {{0, 0}, {1, 1}, {1, 0}, {0, 1}}; /* x negative, d negative */
    for (int n = 0; n < 4; n++) {
        const uint8_t x_negative = ORDER[n][0], d_negative = ORDER[n][1];
        if (!lines_of(&sample->x, x_negative) || !lines_of(&sample->d, d_negative))
            continue;
        const bool down = (x_negative != d_negative) != ((pulse->flags & FLIP) != 0);
        hal_rails(pulse->where.array, down ? &kind->down : &kind->up);
        (kind->up.floating ? fire_phase_apart : fire_phase)(pulse->where.array, kind, sample->bl, x_negative, d_negative);
    }
}

static void spread_sample(const struct pulse *pulse, const struct sample *sample, uint64_t step)
{
    const bool drawn = pulse->flags & DRAWN;
    const struct key x_key = key_of(pulse->seed, pulse->x_stream, step), d_key = key_of(pulse->seed, pulse->d_stream, step);
    spread_out(&sample->x, sample->bl, pulse->where.column, drawn ? &x_key : 0, &x);
    spread_out(&sample->d, sample->bl, pulse->where.row, drawn ? &d_key : 0, &d);
}

void pulse_run(struct cursor *body, uint8_t flags, const struct limits *limits)
{
    struct pulse pulse = {.flags = 0};
    struct sample sample;
    if (!take_pulse(body, flags, &pulse))
        return;
    const struct kind *const kind = &limits->kind[pulse.kind];
    for (uint32_t round = 0; round < pulse.repeat; round++) {
        struct cursor samples = *body;
        for (uint32_t n = 0; n < pulse.samples && take_sample(&samples, &pulse, &sample); n++) {
            if (sample.bl == 0)
                continue;
            if (round == 0 || pulse.samples > 1) /* a single sample stays spread out */
                spread_sample(&pulse, &sample, pulse.first + n);
            fire_sample(&pulse, kind, &sample);
        }
    }
    hal_idle();
}
