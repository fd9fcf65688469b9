#include "check.h"

#include "board.h"
#include "bytes.h"
#include "problem.h"
#include "sample.h"

/* What the operations so far cost. */
struct cost {
    uint64_t ns;
    uint32_t reply;
};

static bool too_short(const struct cursor *body, struct problem *problem)
{
    return refuse(problem, E_LENGTH, F_LENGTH, body->left, (int64_t)body->left + 1, UINT16_MAX);
}

static bool no_flags_but(uint8_t flags, uint8_t allowed, struct problem *problem)
{
    return within(problem, F_RESERVED, flags & ~allowed, 0, 0);
}

static bool capable(uint8_t flags, uint8_t flag, uint32_t capability, struct problem *problem)
{
    return !(flags & flag) || (CAPABILITIES & capability) ||
           refuse(problem, E_RANGE, F_CAPABILITY, capability, CAPABILITIES, CAPABILITIES);
}

static bool on_chip(const struct rectangle *where, struct problem *problem)
{
    return within(problem, F_ARRAY, where->array, 0, ARRAYS - 1) &&
           within(problem, F_ROWS, (int64_t)where->row + where->rows, (int64_t)where->row + 1, ROWS) &&
           within(problem, F_COLUMNS, (int64_t)where->column + where->columns, (int64_t)where->column + 1, COLUMNS);
}

/* A product saturates, so that none of what a frame says can pass for a small one. */
static bool spend(struct cost *cost, uint64_t ns, uint32_t times, const struct limits *limits, struct problem *problem)
{
    cost->ns += ns > INT64_MAX / 2 / times ? INT64_MAX / 2 : ns * times;
    return within(problem, F_DURATION, (int64_t)((cost->ns + 999) / 1000), 0, limits->max_run_us);
}

static bool unused_bits(const uint8_t *bits, uint32_t count, struct problem *problem)
{
    return count % 8 == 0 || within(problem, F_RESERVED, bits[count / 8] >> count % 8, 0, 0);
}

static bool check_side(const struct side *side, uint16_t bl, bool drawn, struct problem *problem)
{
    return unused_bits(side->fires, side->lines, problem) && unused_bits(side->negative, side->firing, problem) &&
           (drawn || unused_bits(side->trains, (uint32_t)side->firing * bl, problem));
}

/* Return the phases of a sample, and note the ways that they go. */
static uint32_t phases_of(const struct sample *sample, bool flip, uint8_t *ways)
{
    uint32_t phases = 0;
    for (int x_negative = 0; x_negative < 2; x_negative++)
        for (int d_negative = 0; d_negative < 2; d_negative++)
            if (lines_of(&sample->x, x_negative) && lines_of(&sample->d, d_negative)) {
                *ways |= (x_negative != d_negative) != flip ? DOWN : UP;
                phases++;
            }
    return phases;
}

static uint32_t lines_on(const struct side *side, uint16_t bl, uint32_t slot)
{
    uint32_t count = 0;
    for (uint32_t n = 0; n < side->firing; n++)
        count += get_bit(side->trains, n * bl + slot);
    return count;
}

/* Return the cross-points of all slots: where lines float, each has a slot for itself. Of trains that are drawn it is what
 * they could come to at most. */
static uint64_t cross_points(const struct sample *sample, bool drawn)
{
    uint64_t count = 0;
    if (drawn)
        return (uint64_t)sample->bl * sample->x.firing * sample->d.firing;
    for (uint32_t slot = 0; slot < sample->bl; slot++)
        count += (uint64_t)lines_on(&sample->x, sample->bl, slot) * lines_on(&sample->d, sample->bl, slot);
    return count;
}

static bool check_sample(struct cursor *body, const struct pulse *pulse, const struct limits *limits, uint64_t *slots,
                         struct problem *problem)
{
    struct sample sample;
    uint8_t ways = 0;
    if (body->left >= 2 && !within(problem, F_BL, get_u16(body->at), 0, limits->max_bl))
        return false;
    if (!take_sample(body, pulse, &sample))
        return too_short(body, problem);
    if (sample.bl == 0)
        return true;
    if (!check_side(&sample.x, sample.bl, pulse->flags & DRAWN, problem) ||
        !check_side(&sample.d, sample.bl, pulse->flags & DRAWN, problem))
        return false;
    const struct kind *const kind = &limits->kind[pulse->kind];
    const uint64_t phases = (uint64_t)sample.bl * phases_of(&sample, pulse->flags & FLIP, &ways);
    *slots += kind->up.floating ? cross_points(&sample, pulse->flags & DRAWN) : phases;
    const uint8_t allowed = kind->ways;
    return (ways & ~allowed) == 0 || refuse(problem, E_RANGE, F_DIRECTION, ways & ~allowed, allowed, allowed);
}

static bool check_pulse(uint8_t flags, struct cursor *body, const struct limits *limits, struct cost *cost,
                        struct problem *problem)
{
    struct pulse pulse;
    uint64_t slots = 0;
    if (!no_flags_but(flags, FLIP | DRAWN, problem) || !capable(flags, DRAWN, CAN_DRAW, problem))
        return false;
    if (!take_pulse(body, flags, &pulse))
        return too_short(body, problem);
    if (!on_chip(&pulse.where, problem) || !within(problem, F_KIND, pulse.kind, 0, limits->kinds - 1) ||
        !within(problem, F_SAMPLES, pulse.samples, 1, UINT16_MAX) ||
        !within(problem, F_REPEAT, pulse.repeat, 1, UINT16_MAX / pulse.samples)) /* samples take time, even empty ones */
        return false;
    for (uint32_t n = 0; n < pulse.samples; n++)
        if (!check_sample(body, &pulse, limits, &slots, problem))
            return false;
    const struct kind *const kind = &limits->kind[pulse.kind];
    cost->reply += 1;
    return spend(cost, slots * ((uint64_t)kind->width_ns + kind->gap_ns), pulse.repeat, limits, problem);
}

static bool check_codes(struct cursor *body, uint8_t flags, const struct sense *sense, const struct limits *limits,
                        struct problem *problem)
{
    const uint32_t inputs = sense_inputs(sense), width = INPUT_BITS <= 8 ? 1 : 2;
    const uint32_t each = flags & ONE_HOT ? 4 : width * inputs;
    const uint8_t *at = take(body, each * sense->vectors);
    if (!at)
        return too_short(body, problem);
    const uint32_t codes = flags & ONE_HOT ? sense->vectors : inputs * sense->vectors;
    for (uint32_t n = 0; n < codes; n++) {
        if ((flags & ONE_HOT) && !within(problem, F_LINE, get_u16(at + 4 * n), 0, inputs - 1))
            return false;
        const int16_t code = flags & ONE_HOT ? get_i16(at + 4 * n + 2) : width == 1 ? get_i8(at + n) : get_i16(at + 2 * n);
        if (!within(problem, F_INPUT_CODE, code, -limits->max_input, limits->max_input))
            return false;
    }
    return true;
}

static bool check_read(uint8_t flags, struct cursor *body, const struct limits *limits, struct cost *cost,
                       struct problem *problem)
{
    struct sense sense;
    if (!no_flags_but(flags, TRANSPOSED | DIFFERENTIAL | ONE_HOT, problem) ||
        !capable(flags, TRANSPOSED, CAN_TRANSPOSE, problem) || !capable(flags, DIFFERENTIAL, CAN_SUBTRACT, problem))
        return false;
    const uint8_t *const head = body->at;
    if (!take_sense(body, flags, &sense))
        return too_short(body, problem);
    if (sense.differential && !within(problem, F_RESERVED, head[READ_HEAD + 1], 0, 0))
        return false;
    if (!on_chip(&sense.where, problem) || !on_chip(&sense.second, problem) ||
        !within(problem, F_RANGE, sense.range, 0, 1) || !within(problem, F_VECTORS, sense.vectors, 1, UINT16_MAX) ||
        !check_codes(body, flags, &sense, limits, problem))
        return false;
    const uint64_t reply = (uint64_t)cost->reply + 1u + 2u * (uint64_t)sense_outputs(&sense) * sense.vectors;
    if (!within(problem, F_REPLY_LENGTH, (int64_t)reply, 0, MAX_REPLY))
        return false;
    cost->reply = (uint32_t)reply;
    return spend(cost, (uint64_t)limits->read_us * 1000u, sense.vectors, limits, problem);
}

static bool check_wait(uint8_t flags, struct cursor *body, const struct limits *limits, struct cost *cost,
                       struct problem *problem)
{
    if (!no_flags_but(flags, 0, problem))
        return false;
    const uint8_t *const us = take(body, WAIT_BODY);
    cost->reply += 1;
    return us ? spend(cost, (uint64_t)get_u32(us) * 1000u, 1, limits, problem) : too_short(body, problem);
}

static bool check_operation(struct operation_head *head, const struct limits *limits, struct cost *cost,
                            struct problem *problem)
{
    const uint32_t size = head->body.left;
    bool good;
    switch (head->op) {
    case PULSE: good = check_pulse(head->flags, &head->body, limits, cost, problem); break;
    case READ: good = check_read(head->flags, &head->body, limits, cost, problem); break;
    case WAIT: good = check_wait(head->flags, &head->body, limits, cost, problem); break;
    default: return refuse(problem, E_RANGE, F_OPERATION, head->op, PULSE, WAIT);
    }
    if (!good)
        return false;
    const uint32_t used = size - head->body.left;
    return (used == size || refuse(problem, E_LENGTH, F_LENGTH, size, used, used)) &&
           within(problem, F_REPLY_LENGTH, cost->reply, 0, MAX_REPLY);
}

bool check_run(const uint8_t *payload, uint32_t size, const struct limits *limits, struct problem *problem)
{
    struct cursor cursor = {.at = payload, .left = size};
    struct cost cost = {0, 0};
    struct operation_head head;
    for (uint32_t n = 0; cursor.left; n++) {
        if (n >= MOST_OPERATIONS)
            return within(problem, F_OPERATION, n + 1, 0, MOST_OPERATIONS);
        problem->operation = (uint8_t)n;
        if (!take_operation(&cursor, &head))
            return refuse(problem, E_LENGTH, F_LENGTH, size, (int64_t)size + 1, MAX_REQUEST);
        if (!check_operation(&head, limits, &cost, problem))
            return false;
    }
    problem->operation = WHOLE_FRAME;
    return true;
}
