#include "operations.h"

#include "bytes.h"
#include "counters.h"
#include "hal.h"

struct outcome operations_run(const uint8_t *payload, uint32_t size, const struct limits *limits, uint8_t *records)
{
    struct cursor cursor = {.at = payload, .left = size};
    struct outcome outcome = {0, 0, false};
    struct operation_head head;
    while (!outcome.tripped && cursor.left && take_operation(&cursor, &head)) {
        uint8_t *const record = records + outcome.size;
        outcome.size += 1;
        if (head.op == PULSE)
            pulse_run(&head.body, head.flags, limits);
        else if (head.op == READ)
            outcome.size += read_run(&head.body, head.flags, record + 1);
        else
            hal_wait(get_u32(head.body.at));
        outcome.tripped = hal_tripped();
        record[0] = outcome.tripped;
        outcome.done++;
    }
    return outcome;
}
