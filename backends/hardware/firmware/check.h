/* Everything that can be wrong with a RUN is found before its first operation is done. */
#ifndef CHECK_H
#define CHECK_H

#include <stdbool.h>
#include <stdint.h>

#include "limits.h"
#include "protocol.h"

bool check_run(const uint8_t *payload, uint32_t size, const struct limits *limits, struct problem *problem);

#endif
