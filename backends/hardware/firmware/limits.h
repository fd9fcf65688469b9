/* What ARM sets: never more than the board's own limits in board.h. */
#ifndef LIMITS_H
#define LIMITS_H

#include <stdbool.h>
#include <stdint.h>

#include "hal.h"
#include "protocol.h"

enum { MOST_KINDS = 16, ARM_HEAD = 16, ARM_KIND = 28 };

struct kind {
    struct rails up, down;
    uint8_t ways;
    uint32_t width_ns, gap_ns;
};

struct limits {
    uint16_t watchdog_ms, max_bl, compliance, read_us;
    int16_t max_input;
    uint32_t max_run_us;
    uint8_t kinds;
    struct kind kind[MOST_KINDS];
};

/* Read the payload of ARM; return whether the board can be armed with it. */
bool limits_read(const uint8_t *payload, uint32_t size, struct limits *limits, struct problem *problem);

#endif
