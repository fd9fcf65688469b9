#include "trains.h"

static uint32_t mix(uint32_t z)
{
    z = (z ^ z >> 16) * 0x7FEB352Du;
    z = (z ^ z >> 15) * 0x846CA68Bu;
    return z ^ z >> 16;
}

static uint32_t chain(uint32_t h, uint64_t seed, uint32_t stream, uint64_t step)
{
    h = mix((h ^ (uint32_t)seed) + 0x9E3779B9u);
    h = mix((h ^ (uint32_t)(seed >> 32)) + 0x9E3779B9u);
    h = mix((h ^ stream) + 0x9E3779B9u);
    h = mix((h ^ (uint32_t)step) + 0x9E3779B9u);
    return mix((h ^ (uint32_t)(step >> 32)) + 0x9E3779B9u);
}

struct key key_of(uint64_t seed, uint32_t stream, uint64_t step)
{
    return (struct key){chain(0x243F6A88u, seed, stream, step), chain(0x85A308D3u, seed, stream, step)};
}

/* All 32 numbers are compared at once, a digit of each a step, until none is undecided. */
uint32_t train_word(struct key key, uint32_t line, uint32_t highest, uint32_t word)
{
    const uint32_t cell = key.k0 + line * 0x9E3779B9u;
    uint32_t tick = key.k1 + 32 * word * 0x85EBCA6Bu, less = 0, equal = 0xFFFFFFFFu;
    for (uint32_t top = 0x80000000u; top && equal; top >>= 1, tick += 0x85EBCA6Bu) {
        const uint32_t digit = mix(cell ^ tick);
        if (highest & top) {
            less |= equal & ~digit;
            equal &= digit;
        } else {
            equal &= ~digit;
        }
    }
    return less | equal;
}
