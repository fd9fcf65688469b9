#include "frame.h"

#include "board.h"
#include "bytes.h"
#include "cobs.h"
#include "crc32.h"
#include "hal.h"
#include "protocol.h"

enum { BLOCK = 255 };

static uint8_t received[HEADER + MAX_REQUEST + CRC];
static struct cobs decoder = {.data = received, .room = sizeof received};
static uint8_t chunk[LINK_CHUNK + BLOCK + 1];
static bool torn; /* the last reply was not sent whole */

bool frame_push(uint8_t byte, struct frame *frame)
{
    if (!cobs_push(&decoder, byte))
        return false;
    const uint32_t size = decoder.size;
    decoder.size = 0;
    if (size < HEADER + CRC)
        return false;
    frame->crc = get_u32(received + size - CRC);
    if (crc32(received, size - CRC) != frame->crc)
        return false;
    frame->version = received[0];
    frame->op = received[1];
    frame->flags = received[2];
    frame->status = received[3];
    frame->session = get_u32(received + 4);
    frame->seq = get_u32(received + 8);
    frame->payload = received + HEADER;
    frame->size = size - HEADER - CRC;
    return true;
}

void frame_answer(uint8_t *message, const struct frame *request, uint8_t status)
{
    message[0] = MAJOR;
    message[1] = request->op;
    message[2] = REPLY_FLAG;
    message[3] = status;
    put_u32(message + 4, request->session);
    put_u32(message + 8, request->seq);
}

uint32_t frame_seal(uint8_t *message, uint32_t size)
{
    put_u32(message + size, crc32(message, size));
    return size + CRC;
}

void frame_send(const uint8_t *message, uint32_t size)
{
    uint32_t at = 0, filled = 0;
    if (torn)
        chunk[filled++] = 0; /* ends what the host has of it */
    torn = true;
    while (at <= size) {
        filled += cobs_block(message, size, &at, chunk + filled);
        if (filled >= LINK_CHUNK) {
            if (!hal_link_write(chunk, filled))
                return;
            filled = 0;
        }
    }
    chunk[filled++] = 0;
    torn = !hal_link_write(chunk, filled);
}
