/* What the firmware needs of a board: link, clock, converters, switches, store. A port to a board writes these functions
 * and nothing else; hal_host.c (a pseudo-terminal and the emulated chip), hal_fake.c (for tests) and hal_none.c (to see
 * what a microcontroller build takes) are three.
 *
 * Codes are those of docs/protocol.md and have been checked when they arrive here. No function may block for good, and
 * none may call back into the firmware, but for counters_commit() where hal_fire says so. */
#ifndef HAL_H
#define HAL_H

#include <stdbool.h>
#include <stdint.h>

/* Where `floating` is set, lines that do not fire are connected to nothing, and the rest rails are 0. */
struct rails {
    int16_t row_active, row_rest, column_active, column_rest, gate;
    uint16_t compliance;
    bool floating;
};

struct rectangle {
    uint16_t array, row, rows, column, columns;
};

/* Vectors to read; the current of `second` is subtracted where `differential` is set. Inputs are the columns, outputs
 * the rows, the other way round where `transposed` is set. */
struct sense {
    struct rectangle where, second;
    bool transposed, differential;
    uint8_t range; /* 1: twice the full scale */
    uint32_t vectors;
};

/* Bring the board up with outputs at rest: rails at zero, all switches open. Said to the user where there is one: what is
 * wrong. `argc` and `argv` are those of the host build. */
bool hal_open(int argc, char **argv);

/* Whether to go on; false after a request to stop. */
bool hal_running(void);

/* Read what has arrived, at most `room` bytes, waiting at most wait_ms for the first. */
uint32_t hal_link_read(uint8_t *data, uint32_t room, uint32_t wait_ms);

/* Write all of it; false where the other side does not take it within a fraction of a second. */
bool hal_link_write(const uint8_t *data, uint32_t size);

/* Milliseconds since the start; wraps. */
uint32_t hal_millis(void);

/* A number for this start that differs from that of the last, never 0: from a noise source, or a counter in the store. */
uint32_t hal_boot(void);

/* Put all outputs of all arrays at rest. The state between operations; must work at any time. */
void hal_idle(void);

/* Say which rails the next hal_fire uses, and at what current the comparator cuts them off by itself. */
void hal_rails(uint16_t array, const struct rails *rails);

/* Fire `count` slots of SLOT_BYTES each: a bit for each row, then one for each column. Lines whose bit is set are on the
 * active rail for the width, then all are at rest for the gap, at zero also where the others float meanwhile. May keep them back until hal_tripped, hal_sense or
 * hal_idle; calls counters_commit() before it lets any of them go. */
void hal_fire(uint16_t array, const uint8_t *slots, uint32_t count, uint32_t width_ns, uint32_t gap_ns);

/* Whether the comparator has cut the outputs off since the last call; lets go what was kept back. */
bool hal_tripped(void);

/* Read vectors: `inputs` codes [vectors, inputs], `outputs` codes [vectors, outputs]; clips at the ends of the converter,
 * +-(2^(OUTPUT_BITS - 1) - 1). */
void hal_sense(const struct sense *sense, const int16_t *inputs, int16_t *outputs);

void hal_wait(uint32_t us);

/* The non-volatile store: two places, 0 and 1, of which the firmware writes the older one. It is written before pulses
 * leave, so at every phase of a train on a board that keeps nothing back: that suits FRAM, MRAM and battery-backed memory.
 * A board with flash alone keeps both places in memory that resets leave alone, and writes them to flash when idle and
 * from its brown-out interrupt. False where it failed. */
bool hal_store_read(int place, uint8_t *data, uint32_t size);
bool hal_store_write(int place, const uint8_t *data, uint32_t size);

#endif
