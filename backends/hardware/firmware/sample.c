#include "sample.h"

#include <stddef.h>

#include "bytes.h"

const uint8_t *take(struct cursor *cursor, uint32_t count)
{
    const uint8_t *const start = cursor->at;
    if (cursor->lacking || count > cursor->left) {
        cursor->lacking = true;
        return NULL;
    }
    cursor->at += count;
    cursor->left -= count;
    return start;
}

bool take_operation(struct cursor *cursor, struct operation_head *operation)
{
    const uint8_t *const head = take(cursor, OPERATION_HEAD);
    if (!head)
        return false;
    operation->op = head[0];
    operation->flags = head[1];
    operation->body.left = get_u16(head + 2);
    operation->body.at = take(cursor, operation->body.left);
    operation->body.lacking = false;
    return operation->body.at != NULL;
}

static void get_rectangle(const uint8_t *at, uint8_t array, struct rectangle *where)
{
    where->array = array;
    where->row = get_u16(at);
    where->rows = get_u16(at + 2);
    where->column = get_u16(at + 4);
    where->columns = get_u16(at + 6);
}

bool take_pulse(struct cursor *body, uint8_t flags, struct pulse *pulse)
{
    const uint8_t *const head = take(body, PULSE_HEAD);
    if (!head)
        return false;
    pulse->flags = flags;
    pulse->kind = head[1];
    get_rectangle(head + 2, head[0], &pulse->where);
    pulse->samples = get_u16(head + 10);
    pulse->repeat = get_u16(head + 12);
    if (!(flags & DRAWN))
        return true;
    const uint8_t *const drawn = take(body, DRAWN_HEAD);
    if (!drawn)
        return false;
    pulse->seed = get_u64(drawn);
    pulse->x_stream = get_u32(drawn + 8);
    pulse->d_stream = get_u32(drawn + 12);
    pulse->first = get_u64(drawn + 16);
    return true;
}

static bool take_side(struct cursor *body, uint16_t lines, uint16_t bl, bool drawn, struct side *side)
{
    side->lines = lines;
    side->firing = side->negatives = 0;
    side->fires = take(body, bit_bytes(lines));
    if (!side->fires)
        return false;
    side->firing = (uint16_t)count_ones(side->fires, bit_bytes(lines));
    side->negative = take(body, bit_bytes(side->firing));
    if (!side->negative)
        return false;
    side->negatives = (uint16_t)count_ones(side->negative, bit_bytes(side->firing));
    side->trains = take(body, drawn ? 4u * side->firing : bit_bytes((uint32_t)side->firing * bl));
    return side->trains != NULL;
}

bool take_sample(struct cursor *body, const struct pulse *pulse, struct sample *sample)
{
    const bool drawn = pulse->flags & DRAWN;
    const uint8_t *const bl = take(body, 2);
    if (!bl)
        return false;
    sample->bl = get_u16(bl);
    return sample->bl == 0 || (take_side(body, pulse->where.columns, sample->bl, drawn, &sample->x) &&
                               take_side(body, pulse->where.rows, sample->bl, drawn, &sample->d));
}

uint16_t lines_of(const struct side *side, bool negative)
{
    return negative ? side->negatives : (uint16_t)(side->firing - side->negatives);
}

bool take_sense(struct cursor *body, uint8_t flags, struct sense *sense)
{
    const uint8_t *const head = take(body, READ_HEAD);
    if (!head)
        return false;
    get_rectangle(head + 2, head[0], &sense->where);
    sense->second = sense->where;
    sense->range = head[1];
    sense->vectors = get_u16(head + 10);
    sense->transposed = flags & TRANSPOSED;
    sense->differential = flags & DIFFERENTIAL;
    if (!sense->differential)
        return true;
    const uint8_t *const other = take(body, SECOND_HEAD);
    if (!other)
        return false;
    sense->second.array = other[0];
    sense->second.row = get_u16(other + 2);
    sense->second.column = get_u16(other + 4);
    return true;
}

uint32_t sense_inputs(const struct sense *sense) { return sense->transposed ? sense->where.rows : sense->where.columns; }

uint32_t sense_outputs(const struct sense *sense) { return sense->transposed ? sense->where.columns : sense->where.rows; }
