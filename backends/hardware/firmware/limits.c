#include "limits.h"

#include "board.h"
#include "bytes.h"
#include "problem.h"

static void read_rails(const uint8_t *at, int16_t gate, bool floating, uint16_t compliance, struct rails *rails)
{
    rails->row_active = get_i16(at);
    rails->row_rest = get_i16(at + 2);
    rails->column_active = get_i16(at + 4);
    rails->column_rest = get_i16(at + 6);
    rails->gate = gate;
    rails->compliance = compliance;
    rails->floating = floating;
}

/* What devices see of which one line or none is selected. Potentials of floating lines lie between those of the driven
 * ones, wherever the conductances put them: such a device may see all that a selected one sees. Behind gates, rows that are
 * not selected see nothing. */
static bool half_allowed(const struct rails *rails, struct problem *problem)
{
    if (rails->floating)
        return within(problem, F_HALF_CODE, rails->row_active - rails->column_active, -MAX_HALF, MAX_HALF);
    return within(problem, F_HALF_CODE, rails->row_active - rails->column_rest, -MAX_HALF, MAX_HALF) &&
           (rails->gate != 0 ||
            (within(problem, F_HALF_CODE, rails->row_rest - rails->column_active, -MAX_HALF, MAX_HALF) &&
             within(problem, F_HALF_CODE, rails->row_rest - rails->column_rest, -MAX_HALF, MAX_HALF)));
}

/* Codes across devices are held against the board's limits one by one: active - active is what a selected device sees. */
static bool rails_allowed(const struct rails *rails, int way, struct problem *problem)
{
    const int32_t cell = rails->row_active - rails->column_active;
    return within(problem, F_LINE_CODE, rails->row_active, -MAX_LINE, MAX_LINE) &&
           within(problem, F_LINE_CODE, rails->row_rest, -MAX_LINE, MAX_LINE) &&
           within(problem, F_LINE_CODE, rails->column_active, -MAX_LINE, MAX_LINE) &&
           within(problem, F_LINE_CODE, rails->column_rest, -MAX_LINE, MAX_LINE) &&
           within(problem, F_CELL_CODE, cell, -MAX_CELL, MAX_CELL) && half_allowed(rails, problem) &&
           ((way == UP ? cell > 0 : cell < 0) ||
            refuse(problem, E_CONFIG, F_CELL_CODE, cell, way == UP ? 1 : -MAX_CELL, way == UP ? MAX_CELL : -1));
}

/* A floating line has no rail to rest on, and behind gates there is nothing for it to float among. */
static bool floating_allowed(const struct rails *rails, struct problem *problem)
{
    return !rails->floating ||
           (((CAPABILITIES & CAN_FLOAT) || refuse(problem, E_RANGE, F_CAPABILITY, CAN_FLOAT, 0, 0)) &&
            (rails->gate == 0 || refuse(problem, E_CONFIG, F_GATE_CODE, rails->gate, 0, 0)) &&
            within(problem, F_RESERVED, rails->row_rest, 0, 0) && within(problem, F_RESERVED, rails->column_rest, 0, 0));
}

static bool way_allowed(const struct kind *kind, int way, struct problem *problem)
{
    const struct rails *const rails = way == UP ? &kind->up : &kind->down;
    return (kind->ways & way) == 0 || (floating_allowed(rails, problem) && rails_allowed(rails, way, problem));
}

static bool read_kind(const uint8_t *at, uint16_t compliance, struct kind *kind, struct problem *problem)
{
    const int16_t gate = get_i16(at + 16);
    const bool floating = at[19] & FLOATING;
    read_rails(at, gate, floating, compliance, &kind->up);
    read_rails(at + 8, gate, floating, compliance, &kind->down);
    kind->ways = at[18];
    kind->width_ns = get_u32(at + 20);
    kind->gap_ns = get_u32(at + 24);
    if (!within(problem, F_RESERVED, at[18] & ~(UP | DOWN), 0, 0) || !within(problem, F_RESERVED, at[19] & ~FLOATING, 0, 0))
        return false;
    if (kind->ways == 0)
        return true; /* never fired */
    return way_allowed(kind, UP, problem) && way_allowed(kind, DOWN, problem) &&
           within(problem, F_GATE_CODE, gate, 0, MAX_GATE) &&
           ((CAPABILITIES & CAN_GATE) || gate == 0 || refuse(problem, E_RANGE, F_CAPABILITY, CAN_GATE, 0, 0)) &&
           within(problem, F_WIDTH, kind->width_ns, MIN_WIDTH_NS, MAX_WIDTH_NS) &&
           within(problem, F_WIDTH, kind->gap_ns, 0, MAX_GAP_NS);
}

bool limits_read(const uint8_t *payload, uint32_t size, struct limits *limits, struct problem *problem)
{
    if (size < ARM_HEAD)
        return refuse(problem, E_LENGTH, F_LENGTH, size, ARM_HEAD + ARM_KIND, ARM_HEAD + MOST_KINDS * ARM_KIND);
    limits->watchdog_ms = get_u16(payload);
    limits->kinds = payload[2];
    limits->max_input = get_i16(payload + 4);
    limits->max_bl = get_u16(payload + 6);
    limits->compliance = get_u16(payload + 8);
    limits->read_us = get_u16(payload + 10);
    limits->max_run_us = get_u32(payload + 12);
    if (!within(problem, F_KIND, limits->kinds, 1, MOST_KINDS))
        return false;
    const uint32_t whole = ARM_HEAD + (uint32_t)ARM_KIND * limits->kinds;
    if (size != whole)
        return refuse(problem, E_LENGTH, F_LENGTH, size, whole, whole);
    if (!within(problem, F_WATCHDOG, limits->watchdog_ms, MIN_WATCHDOG_MS, MAX_WATCHDOG_MS) ||
        !within(problem, F_RESERVED, payload[3], 0, 0) || !within(problem, F_INPUT_CODE, limits->max_input, 0, MAX_INPUT) ||
        !within(problem, F_BL, limits->max_bl, 1, MAX_BL) ||
        !within(problem, F_COMPLIANCE, limits->compliance, 1, MAX_COMPLIANCE) ||
        !within(problem, F_DURATION, limits->read_us, 1, UINT16_MAX) ||
        !within(problem, F_DURATION, limits->max_run_us, 1, MAX_RUN_US))
        return false;
    for (uint8_t n = 0; n < limits->kinds; n++) {
        problem->operation = n;
        if (!read_kind(payload + ARM_HEAD + ARM_KIND * n, limits->compliance, &limits->kind[n], problem))
            return false;
    }
    problem->operation = WHOLE_FRAME;
    return true;
}
