/* The socket to the emulated chip. */
#ifndef HAL_CHIP_H
#define HAL_CHIP_H

#include <signal.h>
#include <stdbool.h>

#include "hal_options.h"

/* Connect, and see that the chip is the one that the board was built for. Waiting for it ends once *stop is set. */
bool chip_open(const struct options *options, const volatile sig_atomic_t *stop);

int chip_descriptor(void);

/* End the process: without the chip there are no outputs. */
void chip_lost(const char *why);

#endif
