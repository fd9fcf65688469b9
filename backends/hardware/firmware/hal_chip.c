/* Messages to the emulated chip (docs/emulator.md). What needs no answer is kept back and sent in one piece, after the
 * counters; what is kept back when the process is killed was neither fired nor counted. */
#include "hal_chip.h"

#include <errno.h>
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "board.h"
#include "bytes.h"
#include "counters.h"
#include "hal.h"

enum { HEAD = 8, FIRE_HEAD = 12, RAILS_BODY = 24, SENSE_HEAD = 20, ANSWER_MS = 30000, ROOM = 1 << 16 };
enum { LARGEST_FIRE = HEAD + RAILS_BODY + HEAD + FIRE_HEAD + SLOTS_AT_ONCE * SLOT_BYTES };

typedef char a_message_fits[2 * LARGEST_FIRE <= ROOM && HEAD + SENSE_HEAD + 4 * VECTORS_AT_ONCE * LINES <= ROOM ? 1 : -1];

static const struct options *options;
static const volatile sig_atomic_t *stopped;
static int chip = -1;
static uint8_t out[ROOM], answer[4 * VECTORS_AT_ONCE * LINES];
static uint32_t filled;
static bool fired; /* since the comparator was last asked */

void chip_lost(const char *why)
{
    fprintf(stderr, "board: %s; all lines are at rest\n", why);
    exit(3);
}

int chip_descriptor(void) { return chip; }

static void flush(void)
{
    counters_commit();
    for (uint32_t at = 0; at < filled;) {
        const ssize_t count = send(chip, out + at, filled - at, MSG_NOSIGNAL);
        if (count > 0)
            at += (uint32_t)count;
        else if (errno != EINTR)
            chip_lost("the emulated chip takes nothing");
    }
    filled = 0;
}

static void receive(uint8_t *data, uint32_t size)
{
    for (uint32_t at = 0; at < size;) {
        struct pollfd fd = {.fd = chip, .events = POLLIN};
        const int ready = poll(&fd, 1, ANSWER_MS);
        if (*stopped)
            exit(0); /* the socket closes: all lines are at rest */
        if (ready < 0 && errno == EINTR)
            continue;
        if (ready == 0)
            chip_lost("the emulated chip does not answer");
        const ssize_t count = recv(chip, data + at, size - at, 0);
        if (count <= 0)
            chip_lost("the emulated chip is gone");
        at += (uint32_t)count;
    }
}

/* Begin a message and return its body. */
static uint8_t *message(char type, uint16_t array, uint32_t size)
{
    if (filled + HEAD + size > sizeof out)
        flush();
    uint8_t *const head = out + filled;
    head[0] = (uint8_t)type;
    head[1] = 0;
    put_u16(head + 2, array);
    put_u32(head + 4, size);
    filled += HEAD + size;
    return head + HEAD;
}

static void put_float(uint8_t *at, double value)
{
    const float rounded = (float)value;
    uint32_t bits;
    memcpy(&bits, &rounded, sizeof bits);
    put_u32(at, bits);
}

static double get_float(const uint8_t *at)
{
    const uint32_t bits = get_u32(at);
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

bool chip_open(const struct options *chosen, const volatile sig_atomic_t *stop)
{
    static const char wanted[16 + 1] = CHIP_NAME;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    uint8_t who[24];
    options = chosen;
    stopped = stop;
    if (strlen(options->chip) >= sizeof address.sun_path) {
        fprintf(stderr, "board: the path %s is too long for a socket\n", options->chip);
        return false;
    }
    strcpy(address.sun_path, options->chip);
    chip = socket(AF_UNIX, SOCK_STREAM, 0);
    if (chip < 0 || connect(chip, (struct sockaddr *)&address, sizeof address)) {
        fprintf(stderr, "board: no emulated chip at %s: %s\n", options->chip, strerror(errno));
        return false;
    }
    message('H', 0, 0);
    flush();
    receive(who, sizeof who);
    if (memcmp(who + 8, wanted, 16) != 0 || get_u16(who) != ROWS || get_u16(who + 2) != COLUMNS || get_u16(who + 4) != ARRAYS) {
        fprintf(stderr, "board: built for %d arrays %d x %d of %s, but the chip is %d arrays %d x %d of %.16s\n", ARRAYS, ROWS,
                COLUMNS, CHIP_NAME, get_u16(who + 4), get_u16(who), get_u16(who + 2), (const char *)who + 8);
        return false;
    }
    return true;
}

void hal_idle(void)
{
    message('I', 0, 0);
    flush();
}

void hal_rails(uint16_t array, const struct rails *rails)
{
    uint8_t *const body = message('R', array, RAILS_BODY);
    const int16_t codes[4] = {rails->row_active, rails->row_rest, rails->column_active, rails->column_rest};
    for (int n = 0; n < 4; n++) /* a rest that is no number: those lines float */
        put_float(body + 4 * n, rails->floating && n % 2 ? NAN : codes[n] * options->volts_per_rail_code);
    put_float(body + 16, rails->gate * options->volts_per_gate_code);
    put_float(body + 20, rails->compliance * options->amperes_per_compliance_code);
}

void hal_fire(uint16_t array, const uint8_t *slots, uint32_t count, uint32_t width_ns, uint32_t gap_ns)
{
    uint8_t *const body = message('F', array, FIRE_HEAD + count * SLOT_BYTES);
    put_u32(body, width_ns);
    put_u32(body + 4, gap_ns);
    put_u32(body + 8, count);
    memcpy(body + FIRE_HEAD, slots, count * SLOT_BYTES);
    fired = true;
    if (filled + LARGEST_FIRE > sizeof out) /* now, while what is counted is what is here */
        flush();
}

bool hal_tripped(void)
{
    uint8_t tripped = 0;
    if (fired) { /* nothing else can have tripped it */
        message('Q', 0, 0);
        flush();
        receive(&tripped, 1);
        fired = false;
    }
    return tripped;
}

void hal_wait(uint32_t us)
{
    put_u32(message('W', 0, 4), us);
    flush();
}

/* Half to even, as every converter of this project. */
static int16_t output_code(double amperes, double full_scale)
{
    const double most = (1 << (OUTPUT_BITS - 1)) - 1, code = rint(amperes / full_scale * most);
    if (code != code)
        chip_lost("the emulated chip answers with what is no number");
    return (int16_t)(code > most ? most : code < -most ? -most : code);
}

void hal_sense(const struct sense *sense, const int16_t *inputs, int16_t *outputs)
{
    const uint32_t in = sense->vectors * (sense->transposed ? sense->where.rows : sense->where.columns);
    const uint32_t results = sense->vectors * (sense->transposed ? sense->where.columns : sense->where.rows);
    uint8_t *const body = message('S', sense->where.array, SENSE_HEAD + 4 * in);
    body[0] = sense->transposed;
    body[1] = sense->differential;
    put_u16(body + 2, sense->second.array);
    put_u16(body + 4, sense->where.row);
    put_u16(body + 6, sense->where.rows);
    put_u16(body + 8, sense->where.column);
    put_u16(body + 10, sense->where.columns);
    put_u16(body + 12, sense->second.row);
    put_u16(body + 14, sense->second.column);
    put_u32(body + 16, sense->vectors);
    for (uint32_t n = 0; n < in; n++)
        put_float(body + SENSE_HEAD + 4 * n, inputs[n] * options->volts_per_input_code);
    flush();
    receive(answer, 4 * results);
    const double full_scale = options->amperes_full_scale * (1 << sense->range);
    for (uint32_t n = 0; n < results; n++)
        outputs[n] = output_code(get_float(answer + 4 * n), full_scale);
}
