/* Frames of docs/protocol.md: COBS(header | payload | crc32) 0x00. */
#ifndef FRAME_H
#define FRAME_H

#include <stdbool.h>
#include <stdint.h>

struct frame {
    uint8_t version, op, flags, status;
    uint32_t session, seq, crc, size; /* size of the payload */
    const uint8_t *payload;           /* until the next byte is pushed */
};

/* Take a byte from the link; return whether it ends a frame that is whole and undamaged. */
bool frame_push(uint8_t byte, struct frame *frame);

/* Write the header of the reply to a request; `message` has room for header, payload and CRC. */
void frame_answer(uint8_t *message, const struct frame *request, uint8_t status);

/* Add the CRC behind header and payload, `size` bytes; return the bytes of both. */
uint32_t frame_seal(uint8_t *message, uint32_t size);

/* Send a sealed message; what the link does not take in time is dropped, for the host asks again. */
void frame_send(const uint8_t *message, uint32_t size);

#endif
