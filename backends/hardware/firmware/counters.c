/* Two places are written in turn, each with a number and a CRC: whatever stops the board in the middle of one, the other
 * holds what was true before. */
#include "counters.h"

#include "board.h"
#include "bytes.h"
#include "crc32.h"
#include "hal.h"

enum { NUMBER = 0, TOTAL = 4, EACH = 12, CHECK = EACH + 8 * ARRAYS, SIZE = CHECK + 4 };

static uint8_t image[SIZE];
static int place; /* to be written next */
static bool good, changed;

static bool blank(void)
{
    for (uint32_t n = 1; n < SIZE; n++)
        if (image[n] != image[0])
            return false;
    return image[0] == 0 || image[0] == 0xFF;
}

static void clear(void)
{
    for (uint32_t n = 0; n < SIZE; n++)
        image[n] = 0;
}

void counters_load(void)
{
    int newest = -1;
    uint32_t number = 0;
    good = true;
    changed = false;
    for (int n = 0; n < 2; n++) {
        if (!hal_store_read(n, image, SIZE)) {
            good = false;
        } else if (get_u32(image + CHECK) == crc32(image, CHECK) && !blank()) {
            if (newest < 0 || get_u32(image) - number < 0x80000000u)
                newest = n;
            number = get_u32(image);
        } else if (!blank() && newest < 0 && n == 1) {
            good = false; /* neither place holds anything that was ever written whole */
        }
    }
    place = newest == 0;
    if (newest < 0 || !hal_store_read(newest, image, SIZE))
        clear();
}

void counters_add(uint16_t array, uint64_t pulses)
{
    uint8_t *const each = image + EACH + 8 * array;
    put_u64(image + TOTAL, get_u64(image + TOTAL) + pulses);
    put_u64(each, get_u64(each) + pulses);
    changed = true;
}

void counters_commit(void)
{
    if (!changed)
        return;
    changed = false;
    put_u32(image + NUMBER, get_u32(image + NUMBER) + 1);
    put_u32(image + CHECK, crc32(image, CHECK));
    good = hal_store_write(place, image, SIZE) && good;
    place = !place;
}

bool counters_good(void) { return good; }

uint64_t counters_total(void) { return get_u64(image + TOTAL); }

uint64_t counters_of(uint16_t array) { return get_u64(image + EACH + 8 * array); }
