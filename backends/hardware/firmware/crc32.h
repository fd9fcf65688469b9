/* CRC-32 of zlib and IEEE 802.3: reflected, inverted. */
#ifndef CRC32_H
#define CRC32_H

#include <stdint.h>

uint32_t crc32(const uint8_t *data, uint32_t size);

#endif
