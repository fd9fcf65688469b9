/* A board without hardware, for tests and for the fuzzer: its link is standard input and output, and what it drives goes
 * as text to the file named on the command line. It stops at once when anything beyond the board's limits reaches it.
 *
 * The current of line pairs is thought: a slot that selects more devices than the compliance code trips the comparator,
 * and output codes are sums of input codes times small weights. */
#include "hal_fake.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "board.h"
#include "bytes.h"
#include "counters.h"
#include "hal.h"
#include "protocol.h"

uint32_t fake_clock;
uint64_t fake_pulses, fake_ns;
uint8_t fake_status;
bool fake_resting;

static FILE *record;
static bool ended, cut;
static struct rails rails;
static int rails_of = -1; /* the array, -1 where none are set */
static uint8_t places[2][4096];

#define MUST(condition) (condition ? (void)0 : fail(#condition))

static void fail(const char *condition)
{
    fprintf(stderr, "board: outside the envelope: not %s\n", condition);
    abort();
}

static bool at_most(int32_t code, int32_t most) { return code >= -most && code <= most; }

bool hal_open(int argc, char **argv)
{
    record = argc > 1 ? fopen(argv[1], "w") : NULL;
    return argc < 2 || record;
}

bool hal_running(void) { return !ended; }

uint32_t hal_link_read(uint8_t *data, uint32_t room, uint32_t wait_ms)
{
    (void)wait_ms;
    const ssize_t count = read(STDIN_FILENO, data, room);
    ended = count <= 0;
    return ended ? 0 : (uint32_t)count;
}

bool hal_link_write(const uint8_t *data, uint32_t size)
{
    fake_status = data[0] == 4 ? OK : data[4]; /* the first block ends at a status that is zero */
    return !record || (fwrite(data, 1, size, stdout) == size && fflush(stdout) == 0);
}

uint32_t hal_millis(void) { return fake_clock; }

uint32_t hal_boot(void) { return 7; }

void hal_idle(void)
{
    rails_of = -1;
    fake_resting = true;
    if (record)
        fputs("I\n", record);
}

void hal_rails(uint16_t array, const struct rails *next)
{
    MUST(array < ARRAYS);
    MUST(at_most(next->row_active, MAX_LINE) && at_most(next->row_rest, MAX_LINE));
    MUST(at_most(next->column_active, MAX_LINE) && at_most(next->column_rest, MAX_LINE));
    MUST(at_most(next->row_active - next->column_active, MAX_CELL) && next->row_active != next->column_active);
    if (next->floating) {
        MUST((CAPABILITIES & CAN_FLOAT) && next->gate == 0 && next->row_rest == 0 && next->column_rest == 0);
        MUST(at_most(next->row_active - next->column_active, MAX_HALF));
    }
    MUST(at_most(next->row_active - next->column_rest, MAX_HALF) && next->gate >= 0 && next->gate <= MAX_GATE);
    MUST(next->gate != 0 || (at_most(next->row_rest - next->column_active, MAX_HALF) &&
                             at_most(next->row_rest - next->column_rest, MAX_HALF)));
    MUST(next->compliance >= 1 && next->compliance <= MAX_COMPLIANCE);
    rails = *next;
    rails_of = array;
    if (record)
        fprintf(record, "R %d %d %d %d %d %d %d %d\n", array, rails.row_active, rails.row_rest, rails.column_active,
                rails.column_rest, rails.gate, rails.compliance, rails.floating);
}

static void fire_slot(const uint8_t *slot)
{
    const uint32_t rows = count_ones(slot, ROW_BYTES), columns = count_ones(slot + ROW_BYTES, COLUMN_BYTES);
    MUST((ROWS % 8 == 0 || slot[ROW_BYTES - 1] >> ROWS % 8 == 0));
    MUST((COLUMNS % 8 == 0 || slot[SLOT_BYTES - 1] >> COLUMNS % 8 == 0));
    MUST(!rails.floating || (rows == 1 && columns == 1));
    fake_pulses += rows * columns;
    cut = cut || rows * columns > rails.compliance;
    for (int n = 0; record && n < SLOT_BYTES; n++)
        fprintf(record, "%02x", slot[n]);
}

void hal_fire(uint16_t array, const uint8_t *slots, uint32_t count, uint32_t width_ns, uint32_t gap_ns)
{
    MUST(array == rails_of && count >= 1 && count <= SLOTS_AT_ONCE);
    MUST(width_ns >= MIN_WIDTH_NS && width_ns <= MAX_WIDTH_NS && gap_ns <= MAX_GAP_NS);
    counters_commit();
    fake_resting = false;
    fake_ns += (uint64_t)count * (width_ns + gap_ns);
    if (record)
        fprintf(record, "F %d %u %u %u ", array, (unsigned)width_ns, (unsigned)gap_ns, (unsigned)count);
    for (uint32_t n = 0; n < count; n++)
        fire_slot(slots + n * SLOT_BYTES);
    if (record)
        fputc('\n', record);
}

bool hal_tripped(void)
{
    const bool tripped = cut;
    cut = false;
    return tripped;
}

static int32_t weight(const struct rectangle *where, uint32_t row, uint32_t column)
{
    return (int32_t)((where->array + 3 * (where->row + row) + 5 * (where->column + column)) % 7) - 3;
}

static void check_place(const struct rectangle *where)
{
    MUST(where->array < ARRAYS && where->rows >= 1 && where->columns >= 1);
    MUST(where->row + where->rows <= ROWS && where->column + where->columns <= COLUMNS);
}

void hal_sense(const struct sense *sense, const int16_t *inputs, int16_t *outputs)
{
    const uint32_t in = sense->transposed ? sense->where.rows : sense->where.columns;
    const uint32_t out = sense->transposed ? sense->where.columns : sense->where.rows;
    const int32_t most = (1 << (OUTPUT_BITS - 1)) - 1;
    check_place(&sense->where);
    check_place(&sense->second);
    MUST(sense->vectors >= 1 && sense->vectors <= VECTORS_AT_ONCE && sense->range <= 1);
    for (uint32_t n = 0; n < sense->vectors * out; n++) {
        int32_t sum = 0;
        for (uint32_t m = 0; m < in; m++) {
            const uint32_t row = sense->transposed ? m : n % out, column = sense->transposed ? n % out : m;
            const int32_t code = inputs[n / out * in + m];
            MUST(at_most(code, MAX_INPUT));
            sum += code * weight(&sense->where, row, column);
            if (sense->differential)
                sum -= code * weight(&sense->second, row, column);
        }
        sum /= 1 << sense->range;
        outputs[n] = (int16_t)(sum > most ? most : sum < -most ? -most : sum);
    }
}

void hal_wait(uint32_t us)
{
    MUST(us <= MAX_RUN_US);
    fake_ns += (uint64_t)us * 1000;
    if (record)
        fprintf(record, "W %u\n", (unsigned)us);
}

bool hal_store_read(int place, uint8_t *data, uint32_t size)
{
    memcpy(data, places[place], size);
    return true;
}

bool hal_store_write(int place, const uint8_t *data, uint32_t size)
{
    memcpy(places[place], data, size);
    return true;
}
