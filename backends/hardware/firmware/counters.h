/* Device pulses since the board was made, in all and of each array, kept over starts. */
#ifndef COUNTERS_H
#define COUNTERS_H

#include <stdbool.h>
#include <stdint.h>

void counters_load(void);

/* Count pulses that are about to be fired. */
void counters_add(uint16_t array, uint64_t pulses);

/* Write to the store what has been added since the last time. */
void counters_commit(void);

/* Whether the store has not failed; where it has, the board fires nothing. */
bool counters_good(void);

uint64_t counters_total(void);
uint64_t counters_of(uint16_t array);

#endif
