/* Checks that note what is wrong: each returns whether all is well. */
#ifndef PROBLEM_H
#define PROBLEM_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol.h"

/* The largest numbers are told as the largest that a reply can hold. */
static inline int32_t told(int64_t value)
{
    return value > INT32_MAX ? INT32_MAX : value < INT32_MIN ? INT32_MIN : (int32_t)value;
}

static inline bool refuse(struct problem *problem, uint8_t status, uint8_t field, int64_t value, int64_t low, int64_t high)
{
    problem->status = status;
    problem->field = field;
    problem->value = told(value);
    problem->low = told(low);
    problem->high = told(high);
    return false;
}

static inline bool within(struct problem *problem, uint8_t field, int64_t value, int64_t low, int64_t high)
{
    return (value >= low && value <= high) || refuse(problem, E_RANGE, field, value, low, high);
}

#endif
