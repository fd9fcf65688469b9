/* The numbers of docs/protocol.md. */
#ifndef PROTOCOL_H
#define PROTOCOL_H

#include <stdint.h>

enum { MAJOR = 1, MINOR = 1, HEADER = 12, CRC = 4, REPLY_FLAG = 0x80, WHOLE_FRAME = 0xFF, MOST_OPERATIONS = 255 };

enum op { OP_HELLO = 1, OP_STATUS, OP_IDLE, OP_ARM, OP_RUN, OP_COUNTERS };

enum operation { PULSE = 0x10, READ = 0x20, WAIT = 0x30 };
enum { FLIP = 1, DRAWN = 2 };                         /* flags of PULSE */
enum { TRANSPOSED = 1, DIFFERENTIAL = 2, ONE_HOT = 4 }; /* flags of READ */
enum { CAN_TRANSPOSE = 1, CAN_SUBTRACT = 2, CAN_DRAW = 4, CAN_GATE = 8, CAN_FLOAT = 16 };
enum { OPERATION_HEAD = 4, PULSE_HEAD = 14, DRAWN_HEAD = 24, READ_HEAD = 12, SECOND_HEAD = 6, WAIT_BODY = 4 };
enum { UP = 1, DOWN = 2 };                             /* ways of a kind */
enum { FLOATING = 1 };                                 /* lines of a kind */

enum state { IDLE, ARMED, SAFE };
enum reason { NO_REASON, ASKED, WATCHDOG, COMPLIANCE, START };

enum status {
    OK, E_VERSION, E_OP, E_SESSION, E_SEQ_GAP, E_SEQ_REUSE, E_NOT_ARMED, E_SAFE, E_RANGE, E_CONFIG, E_LENGTH,
    E_COMPLIANCE, E_STORE
};

enum field {
    F_LENGTH, F_OPERATION, F_ARRAY, F_ROWS, F_COLUMNS, F_KIND, F_SAMPLES, F_REPEAT, F_LINE_CODE, F_CELL_CODE,
    F_HALF_CODE, F_GATE_CODE, F_WIDTH, F_BL, F_DIRECTION, F_DURATION, F_VECTORS, F_LINE, F_INPUT_CODE, F_RANGE,
    F_WATCHDOG, F_COMPLIANCE, F_REPLY_LENGTH, F_CAPABILITY, F_RESERVED, F_SEQ
};

/* Why a frame is refused: the value found and the allowed range. */
struct problem {
    uint8_t status, operation, field;
    int32_t value, low, high;
};

#endif
