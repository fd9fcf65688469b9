/* The least hardware layer: nothing is connected and nothing is driven. It shows that the firmware builds and links for a
 * microcontroller, and how much memory it takes there; a port starts from a copy of it. */
#include "board.h"
#include "hal.h"

bool hal_open(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    return true;
}

bool hal_running(void) { return true; }

uint32_t hal_link_read(uint8_t *data, uint32_t room, uint32_t wait_ms)
{
    (void)data;
    (void)room;
    (void)wait_ms;
    return 0;
}

bool hal_link_write(const uint8_t *data, uint32_t size)
{
    (void)data;
    (void)size;
    return false;
}

uint32_t hal_millis(void)
{
    static volatile uint32_t ticks; /* of a timer interrupt */
    return ticks;
}

uint32_t hal_boot(void) { return 1; }

void hal_idle(void) {}

void hal_rails(uint16_t array, const struct rails *rails)
{
    (void)array;
    (void)rails;
}

void hal_fire(uint16_t array, const uint8_t *slots, uint32_t count, uint32_t width_ns, uint32_t gap_ns)
{
    (void)array;
    (void)slots;
    (void)count;
    (void)width_ns;
    (void)gap_ns;
}

bool hal_tripped(void) { return true; } /* whoever fires with this layer is told that nothing came of it */

void hal_sense(const struct sense *sense, const int16_t *inputs, int16_t *outputs)
{
    (void)sense;
    (void)inputs;
    (void)outputs;
}

void hal_wait(uint32_t us) { (void)us; }

/* No store: such a board cannot be armed. */
bool hal_store_read(int place, uint8_t *data, uint32_t size)
{
    (void)place;
    (void)data;
    (void)size;
    return false;
}

bool hal_store_write(int place, const uint8_t *data, uint32_t size)
{
    (void)place;
    (void)data;
    (void)size;
    return false;
}
