/* The keyed generator in C, written from docs/keyed-generator.md alone.
 *
 * Reads one question a line and answers it on one line. Names are the bytes of the UTF-8 text in hexadecimal behind an x.
 *   stream NAME | mix WORD | key SEED NAME STEP | draw SEED NAME STEP CELL PULSE
 *   gaussian WORD | threshold P | train SEED NAME STEP LINE THRESHOLD BL
 */
#include <inttypes.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

struct key { uint32_t k0, k1; };

static uint32_t mix(uint32_t z)
{
    z = (z ^ (z >> 16)) * 0x7FEB352Du;
    z = (z ^ (z >> 15)) * 0x846CA68Bu;
    return z ^ (z >> 16);
}

static uint32_t stream_number(const char *hex)
{
    uint32_t crc = 0xFFFFFFFFu;
    unsigned byte;
    for (hex++; sscanf(hex, "%2x", &byte) == 1; hex += 2) {
        crc ^= byte;
        for (int bit = 0; bit < 8; bit++)
            crc = (crc & 1) ? (crc >> 1) ^ 0xEDB88320u : crc >> 1;
    }
    return ~crc;
}

static uint32_t chain(uint32_t h, uint64_t seed, uint32_t stream, uint64_t step)
{
    const uint32_t words[5] = {(uint32_t)seed, (uint32_t)(seed >> 32), stream, (uint32_t)step, (uint32_t)(step >> 32)};
    for (int i = 0; i < 5; i++)
        h = mix((h ^ words[i]) + 0x9E3779B9u);
    return h;
}

static struct key make_key(uint64_t seed, uint32_t stream, uint64_t step)
{
    struct key key = {chain(0x243F6A88u, seed, stream, step), chain(0x85A308D3u, seed, stream, step)};
    return key;
}

static uint32_t draw(struct key key, uint32_t cell, uint32_t pulse)
{
    return mix((key.k0 + cell * 0x9E3779B9u) ^ (key.k1 + pulse * 0x85EBCA6Bu));
}

static uint32_t gaussian_bits(uint32_t a)
{
    uint32_t b = a * 0xC2B2AE3Du, bits;
    int32_t ones = 0;
    b ^= b >> 16;
    for (uint32_t rest = a; rest; rest &= rest - 1)
        ones++;
    float s = (float)((ones - 16) * 65536 + (int32_t)(b >> 16) + (int32_t)(b & 0xFFFFu) - 65535);
    float square = s * s;
    float cubic = 0x1.e3ed66p-62f * square;
    float factor = 0x1.637b56p-18f + cubic;
    float value = s * factor;
    memcpy(&bits, &value, 4);
    return bits;
}

static uint64_t threshold(double p)
{
    if (p < 0) p = 0;
    if (p > 1) p = 1;
    return (uint64_t)floor(p * 4294967296.0 + 0.5);
}

static uint32_t train_word(struct key key, uint32_t line, uint64_t limit, uint32_t word, uint32_t bl)
{
    uint32_t fires = 0;
    for (uint32_t slot = 0; slot < 32 && 32 * word + slot < bl; slot++) {
        uint32_t number = 0;
        for (uint32_t digit = 0; digit < 32; digit++)
            number = number << 1 | (draw(key, line, 32 * word + digit) >> slot & 1);
        if (number < limit)
            fires |= (uint32_t)1 << slot;
    }
    return fires;
}

int main(void)
{
    char line[1024], verb[16], name[512];
    uint64_t seed, step, limit;
    uint32_t cell, pulse, word, bl;
    double p;
    while (fgets(line, sizeof line, stdin)) {
        if (sscanf(line, "%15s", verb) != 1) return 1;
        if (sscanf(line, "stream %511s", name) == 1) {
            printf("0x%08" PRIx32 "\n", stream_number(name));
        } else if (sscanf(line, "mix %" SCNx32, &word) == 1) {
            printf("0x%08" PRIx32 "\n", mix(word));
        } else if (sscanf(line, "key %" SCNu64 " %511s %" SCNu64, &seed, name, &step) == 3) {
            struct key key = make_key(seed, stream_number(name), step);
            printf("0x%08" PRIx32 " 0x%08" PRIx32 "\n", key.k0, key.k1);
        } else if (sscanf(line, "draw %" SCNu64 " %511s %" SCNu64 " %" SCNu32 " %" SCNu32, &seed, name, &step, &cell,
                          &pulse) == 5) {
            printf("0x%08" PRIx32 "\n", draw(make_key(seed, stream_number(name), step), cell, pulse));
        } else if (sscanf(line, "gaussian %" SCNx32, &word) == 1) {
            printf("0x%08" PRIx32 "\n", gaussian_bits(word));
        } else if (sscanf(line, "threshold %lf", &p) == 1) {
            printf("%" PRIu64 "\n", threshold(p));
        } else if (sscanf(line, "train %" SCNu64 " %511s %" SCNu64 " %" SCNu32 " %" SCNu64 " %" SCNu32, &seed, name,
                          &step, &cell, &limit, &bl) == 6) {
            for (word = 0; word < (bl + 31) / 32; word++)
                printf("%s0x%08" PRIx32, word ? " " : "",
                       train_word(make_key(seed, stream_number(name), step), cell, limit, word, bl));
            printf("\n");
        } else {
            return 1;
        }
    }
    return 0;
}
