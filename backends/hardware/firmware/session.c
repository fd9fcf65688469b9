#include "session.h"

#include <stdbool.h>

#include "board.h"
#include "bytes.h"
#include "check.h"
#include "counters.h"
#include "crc32.h"
#include "hal.h"
#include "limits.h"
#include "operations.h"
#include "problem.h"

enum { HELLO_SIZE = 8, IDENTITY_SIZE = 108, STATUS_SIZE = 32, PROBLEM_SIZE = 16 };

static struct limits limits, offered;
static uint32_t boot, last_seq, last_crc, limits_crc, heard;
static uint8_t state, reason;
static uint8_t kept[HEADER + 1 + MAX_REPLY + CRC]; /* the reply to the last accepted frame */
static uint8_t reply[HEADER + IDENTITY_SIZE + CRC];
static uint32_t kept_size;

static void rest(uint8_t next, uint8_t why)
{
    hal_idle();
    state = next;
    reason = why;
    limits_crc = 0;
}

void session_start(void)
{
    counters_load();
    boot = hal_boot();
    last_seq = last_crc = kept_size = 0;
    rest(IDLE, START);
}

void session_watch(void)
{
    if (state == ARMED && hal_millis() - heard >= limits.watchdog_ms)
        rest(SAFE, WATCHDOG);
}

static void answer(const struct frame *frame, uint32_t size)
{
    frame_answer(reply, frame, OK);
    frame_send(reply, frame_seal(reply, HEADER + size));
}

static void deny(const struct frame *frame, const struct problem *problem)
{
    uint8_t *const at = reply + HEADER;
    frame_answer(reply, frame, problem->status);
    at[0] = problem->operation;
    at[1] = problem->field;
    put_u16(at + 2, 0);
    put_u32(at + 4, (uint32_t)problem->value);
    put_u32(at + 8, (uint32_t)problem->low);
    put_u32(at + 12, (uint32_t)problem->high);
    frame_send(reply, frame_seal(reply, HEADER + PROBLEM_SIZE));
}

static void put_board_limits(uint8_t *at)
{
    put_u32(at + 60, MAX_REQUEST);
    put_u32(at + 64, MAX_REPLY);
    put_u16(at + 68, MAX_LINE);
    put_u16(at + 70, MAX_CELL);
    put_u16(at + 72, MAX_HALF);
    put_u16(at + 74, MAX_GATE);
    put_u16(at + 76, MAX_INPUT);
    put_u16(at + 78, MAX_COMPLIANCE);
    put_u32(at + 80, MIN_WIDTH_NS);
    put_u32(at + 84, MAX_WIDTH_NS);
    put_u32(at + 88, MAX_GAP_NS);
    put_u16(at + 92, MAX_BL);
    put_u16(at + 94, MAX_WATCHDOG_MS);
    put_u32(at + 96, MAX_RUN_US);
}

static void hello(const struct frame *frame)
{
    static const char name[16 + 1] = CHIP_NAME; /* the rest is zeros */
    uint8_t *const at = reply + HEADER;
    put_u32(at, get_u32(frame->payload + 4));
    at[4] = MAJOR;
    at[5] = MINOR;
    at[6] = state;
    at[7] = reason;
    put_u32(at + 8, boot);
    put_u32(at + 12, last_seq);
    put_u32(at + 16, last_crc);
    put_u32(at + 20, limits_crc);
    for (int n = 0; n < 8; n++)
        at[24 + n] = (uint8_t)((uint64_t)(FIRMWARE_HASH) >> (56 - 8 * n));
    for (int n = 0; n < 16; n++)
        at[32 + n] = (uint8_t)name[n];
    put_u16(at + 48, ARRAYS);
    put_u16(at + 50, ROWS);
    put_u16(at + 52, COLUMNS);
    at[54] = INPUT_BITS;
    at[55] = OUTPUT_BITS;
    put_u32(at + 56, CAPABILITIES);
    put_board_limits(at);
    put_u64(at + 100, counters_total());
    answer(frame, IDENTITY_SIZE);
}

static void status(const struct frame *frame)
{
    uint8_t *const at = reply + HEADER;
    at[0] = state;
    at[1] = reason;
    put_u16(at + 2, 0);
    put_u32(at + 4, last_seq);
    put_u32(at + 8, last_crc);
    put_u32(at + 12, limits_crc);
    put_u64(at + 16, counters_total());
    put_u32(at + 24, hal_millis());
    put_u32(at + 28, 0);
    answer(frame, STATUS_SIZE);
}

static bool may_run(struct problem *problem)
{
    if (state == SAFE)
        return refuse(problem, E_SAFE, 0, reason, 0, 0);
    return state == ARMED || refuse(problem, E_NOT_ARMED, 0, reason, 0, 0);
}

static bool sequence_good(const struct frame *frame, struct problem *problem)
{
    const uint32_t next = last_seq == UINT32_MAX ? 1 : last_seq + 1;
    if (frame->seq == next)
        return true;
    return refuse(problem, frame->seq == last_seq ? E_SEQ_REUSE : E_SEQ_GAP, F_SEQ, frame->seq, next, next);
}

/* Accept a frame: from here on its number is used up. */
static void accept(const struct frame *frame, uint8_t outcome, uint32_t size)
{
    last_seq = frame->seq;
    last_crc = frame->crc;
    heard = hal_millis(); /* a long RUN is no silence */
    frame_answer(kept, frame, outcome);
    kept_size = frame_seal(kept, HEADER + size);
    frame_send(kept, kept_size);
}

static bool arm(const struct frame *frame, struct problem *problem)
{
    if (!limits_read(frame->payload, frame->size, &offered, problem))
        return false;
    if (!counters_good())
        return refuse(problem, E_STORE, 0, 0, 0, 0);
    rest(ARMED, NO_REASON);
    limits = offered;
    limits_crc = crc32(frame->payload, frame->size);
    put_u32(kept + HEADER, limits_crc);
    accept(frame, OK, 4);
    return true;
}

static bool run(const struct frame *frame, struct problem *problem)
{
    if (!may_run(problem) || !check_run(frame->payload, frame->size, &limits, problem))
        return false;
    if (!counters_good())
        return refuse(problem, E_STORE, 0, 0, 0, 0);
    const struct outcome outcome = operations_run(frame->payload, frame->size, &limits, kept + HEADER);
    if (!outcome.tripped) {
        accept(frame, OK, outcome.size);
        return true;
    }
    rest(SAFE, COMPLIANCE);
    for (uint32_t n = outcome.size; n > 0; n--) /* the number of operations goes before their records */
        kept[HEADER + n] = kept[HEADER + n - 1];
    kept[HEADER] = (uint8_t)outcome.done;
    accept(frame, E_COMPLIANCE, 1 + outcome.size);
    return true;
}

static bool counters(const struct frame *frame, struct problem *problem)
{
    if (frame->size != 2)
        return refuse(problem, E_LENGTH, F_LENGTH, frame->size, 2, 2);
    const uint16_t array = get_u16(frame->payload);
    if (!within(problem, F_ARRAY, array, 0, ARRAYS - 1))
        return false;
    put_u64(reply + HEADER, counters_of(array));
    answer(frame, 8);
    return true;
}

static bool numbered(const struct frame *frame, struct problem *problem)
{
    if (kept_size && frame->seq == last_seq && frame->crc == last_crc) {
        frame_send(kept, kept_size);
        return true;
    }
    return sequence_good(frame, problem) && (frame->op == OP_ARM ? arm(frame, problem) : run(frame, problem));
}

static bool size_is(const struct frame *frame, uint32_t size, struct problem *problem)
{
    return frame->size == size || refuse(problem, E_LENGTH, F_LENGTH, frame->size, size, size);
}

/* A frame of the session that is spoken, by the host that speaks it. */
static bool spoken(const struct frame *frame, struct problem *problem)
{
    if (frame->version != MAJOR)
        return refuse(problem, E_VERSION, 0, frame->version, MAJOR, MAJOR);
    if (frame->session != boot)
        return refuse(problem, E_SESSION, 0, (int32_t)frame->session, (int32_t)boot, (int32_t)boot);
    heard = hal_millis();
    if (!within(problem, F_RESERVED, frame->flags, 0, 0) || !within(problem, F_RESERVED, frame->status, 0, 0))
        return false;
    switch (frame->op) {
    case OP_STATUS:
        if (!size_is(frame, 0, problem))
            return false;
        status(frame);
        return true;
    case OP_ARM:
    case OP_RUN: return numbered(frame, problem);
    case OP_COUNTERS: return counters(frame, problem);
    default: return refuse(problem, E_OP, F_OPERATION, frame->op, OP_HELLO, OP_COUNTERS);
    }
}

void session_frame(const struct frame *frame)
{
    struct problem problem = {OK, WHOLE_FRAME, 0, 0, 0, 0};
    if (frame->flags & REPLY_FLAG) /* our own words, from a line that echoes */
        return;
    session_watch();
    if (frame->op == OP_IDLE) {
        rest(IDLE, ASKED);
        answer(frame, 0);
    } else if (frame->op == OP_HELLO) {
        if (size_is(frame, HELLO_SIZE, &problem))
            hello(frame);
        else
            deny(frame, &problem);
    } else if (!spoken(frame, &problem)) {
        deny(frame, &problem);
    }
}
