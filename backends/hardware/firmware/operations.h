/* Operations of a RUN that has passed check_run: done in order. */
#ifndef OPERATIONS_H
#define OPERATIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "limits.h"
#include "sample.h"

/* What became of a RUN: operations done, bytes of their records, and whether the last of them tripped. */
struct outcome {
    uint32_t done, size;
    bool tripped;
};

struct outcome operations_run(const uint8_t *payload, uint32_t size, const struct limits *limits, uint8_t *records);

/* One of each; outputs are then at rest. */
void pulse_run(struct cursor *body, uint8_t flags, const struct limits *limits);
uint32_t read_run(struct cursor *body, uint8_t flags, uint8_t *codes); /* bytes written */

#endif
