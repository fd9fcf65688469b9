/* Little-endian numbers in byte strings, and bits in them (lowest first); no alignment is needed. */
#ifndef BYTES_H
#define BYTES_H

#include <stdbool.h>
#include <stdint.h>

static inline uint16_t get_u16(const uint8_t *at) { return (uint16_t)(at[0] | at[1] << 8); }

static inline uint32_t get_u32(const uint8_t *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static inline uint64_t get_u64(const uint8_t *at) { return get_u32(at) | (uint64_t)get_u32(at + 4) << 32; }

/* Two's complement without a conversion that C99 leaves to the implementation. */
static inline int16_t get_i16(const uint8_t *at)
{
    const int32_t value = get_u16(at);
    return (int16_t)(value < 32768 ? value : value - 65536);
}

static inline int16_t get_i8(const uint8_t *at) { return (int16_t)(*at < 128 ? *at : *at - 256); }

static inline void put_u16(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)value;
    at[1] = (uint8_t)(value >> 8);
}

static inline void put_u32(uint8_t *at, uint32_t value)
{
    put_u16(at, value);
    put_u16(at + 2, value >> 16);
}

static inline void put_u64(uint8_t *at, uint64_t value)
{
    put_u32(at, (uint32_t)value);
    put_u32(at + 4, (uint32_t)(value >> 32));
}

static inline bool get_bit(const uint8_t *bits, uint32_t n) { return bits[n >> 3] >> (n & 7) & 1; }

static inline void set_bit(uint8_t *bits, uint32_t n) { bits[n >> 3] = (uint8_t)(bits[n >> 3] | 1u << (n & 7)); }

static inline uint32_t bit_bytes(uint32_t count) { return (count + 7) / 8; }

static inline uint32_t count_ones(const uint8_t *bits, uint32_t bytes)
{
    uint32_t ones = 0;
    for (uint32_t n = 0; n < bytes; n++)
        for (uint32_t rest = bits[n]; rest; rest &= rest - 1)
            ones++;
    return ones;
}

#endif
