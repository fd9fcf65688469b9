/* A libFuzzer target: what an input says is sent to a board with hal_fake.c beneath it, which stops at whatever is beyond
 * the limits. Build and run it with `make fuzz && build/fuzz -max_len=2048 corpus`.
 *
 * An input is a row of requests: how u8, size u16, and so many bytes. Lowest three bits of `how`: the op, or 0 for bytes
 * that go to the link as they are, or 7 for an ARM that is right. Bit 3: the last number again in place of the next.
 * Bit 4: another session. Bit 5: another version. Bits 6 and 7: time that passes before, in quarters of a second. */
#include <stdlib.h>

#include "board.h"
#include "bytes.h"
#include "cobs.h"
#include "counters.h"
#include "frame.h"
#include "hal.h"
#include "hal_fake.h"
#include "protocol.h"
#include "session.h"

enum { RAW = 0, RIGHT_ARM = 7, AGAIN = 8, STRANGER = 16, OTHER_VERSION = 32, LATER = 64, ARM_SIZE = 44 };

static const uint8_t RIGHT[ARM_SIZE] = {
    0xF4, 0x01, 1, 0, 63, 0, 64, 0, 0x20, 0x4E, 1, 0, 0xD0, 0x07, 0, 0,     /* 500 ms, 1 kind, bl 64, 20000, 2000 us */
    0xA3, 0x02, 0, 0, 0x5D, 0xFD, 0, 0, 0x5D, 0xFD, 0, 0, 0xA3, 0x02, 0, 0, /* +-675 on rows, -+675 on columns */
    0, 0, 3, 0, 50, 0, 0, 0, 10, 0, 0, 0};

static uint8_t message[HEADER + MAX_REQUEST + CRC];
static uint64_t counted;
static bool accepted; /* some frame of the input reached the session */

static void require(bool condition)
{
    if (!condition)
        abort();
}

/* After each frame: outputs at rest, what was counted is what was fired, nothing took longer than a RUN may. */
static void deliver(const struct frame *frame)
{
    fake_ns = 0;
    session_frame(frame);
    require(fake_resting);
    require(counters_total() - counted == fake_pulses);
    require(fake_ns <= (uint64_t)MAX_RUN_US * 1000);
    accepted = true;
}

static void push(const uint8_t *data, size_t size)
{
    struct frame frame;
    for (size_t n = 0; n < size; n++)
        if (frame_push(data[n], &frame))
            deliver(&frame);
}

static void push_message(uint32_t size)
{
    uint8_t block[255];
    const uint8_t zero = 0;
    push(&zero, 1); /* ends what an input has put on the link before */
    for (uint32_t at = 0; at <= size;)
        push(block, cobs_block(message, size, &at, block));
    push(&zero, 1);
}

/* `last` is the number of the last frame that was accepted. */
static void request(uint8_t how, uint32_t *last, const uint8_t *payload, uint32_t size)
{
    const uint8_t op = (how & 7) == RIGHT_ARM ? OP_ARM : how & 7;
    const uint32_t seq = *last + !(how & AGAIN);
    message[0] = how & OTHER_VERSION ? MAJOR + 1 : MAJOR;
    message[1] = op;
    message[2] = message[3] = 0;
    put_u32(message + 4, hal_boot() + ((how & STRANGER) != 0));
    put_u32(message + 8, seq);
    for (uint32_t n = 0; n < size; n++)
        message[HEADER + n] = payload[n];
    const uint32_t whole = frame_seal(message, HEADER + size);
    push_message(whole);
    const uint64_t pulses = fake_pulses;
    accepted = false;
    push_message(whole);
    require(accepted && fake_pulses == pulses); /* the same bytes again fire nothing */
    if ((op == OP_ARM || op == OP_RUN) && (fake_status == OK || fake_status == E_COMPLIANCE))
        *last = seq;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t zero = 0;
    uint32_t last = 0;
    fake_pulses = 0;
    session_start();
    counted = counters_total();
    push(&zero, 1);
    for (size_t at = 0; at + 3 <= size;) {
        const uint8_t how = data[at];
        uint32_t length = get_u16(data + at + 1);
        at += 3;
        length = length > size - at ? (uint32_t)(size - at) : length;
        length = length > MAX_REQUEST ? MAX_REQUEST : length;
        fake_clock += (uint32_t)(how / LATER) * 250;
        session_watch();
        if ((how & 7) == RAW)
            push(data + at, length);
        else if ((how & 7) == RIGHT_ARM)
            request(how, &last, RIGHT, ARM_SIZE);
        else
            request(how, &last, data + at, length);
        at += length;
    }
    return 0;
}
