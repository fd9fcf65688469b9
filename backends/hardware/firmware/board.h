/* What this board is: sizes and the limits that no host can widen. Each can be set with -D; these are those of the
 * emulated board, chips/emulated-64.toml. */
#ifndef BOARD_H
#define BOARD_H

#ifndef CHIP_NAME
#define CHIP_NAME "emulated-64" /* at most 16 characters */
#endif
#ifndef FIRMWARE_HASH
#define FIRMWARE_HASH 0 /* the first 8 bytes of the SHA-256 of the sources, as a big-endian number */
#endif
#ifndef ARRAYS
#define ARRAYS 16
#endif
#ifndef ROWS
#define ROWS 64
#endif
#ifndef COLUMNS
#define COLUMNS 64
#endif
#ifndef INPUT_BITS
#define INPUT_BITS 7
#endif
#ifndef OUTPUT_BITS
#define OUTPUT_BITS 9
#endif
#ifndef CAPABILITIES
#define CAPABILITIES 15 /* transposed reads, differential reads, drawn trains, gate lines; 16: lines can float */
#endif

/* Buffers: the largest payloads of RUN and of its reply, slots and vectors handed to the hardware at once, bytes written
 * to the link at once. */
#ifndef MAX_REQUEST
#define MAX_REQUEST 32768
#endif
#ifndef MAX_REPLY
#define MAX_REPLY 32768
#endif
#ifndef SLOTS_AT_ONCE
#define SLOTS_AT_ONCE 128
#endif
#ifndef VECTORS_AT_ONCE
#define VECTORS_AT_ONCE 128
#endif
#ifndef LINK_CHUNK
#define LINK_CHUNK 4096
#endif

/* Absolute limits, in codes, nanoseconds and so on, as HELLO tells them. */
#ifndef MAX_LINE
#define MAX_LINE 1000
#endif
#ifndef MAX_CELL
#define MAX_CELL 1800
#endif
#ifndef MAX_HALF
#define MAX_HALF 900
#endif
#ifndef MAX_GATE
#define MAX_GATE 3000
#endif
#ifndef MAX_INPUT
#define MAX_INPUT 63
#endif
#ifndef MAX_COMPLIANCE
#define MAX_COMPLIANCE 20000
#endif
#ifndef MIN_WIDTH_NS
#define MIN_WIDTH_NS 50
#endif
#ifndef MAX_WIDTH_NS
#define MAX_WIDTH_NS 20000
#endif
#ifndef MAX_GAP_NS
#define MAX_GAP_NS 1000000
#endif
#ifndef MAX_BL
#define MAX_BL 1024
#endif
#ifndef MAX_RUN_US
#define MAX_RUN_US 200000
#endif
#ifndef MIN_WATCHDOG_MS
#define MIN_WATCHDOG_MS 20
#endif
#ifndef MAX_WATCHDOG_MS
#define MAX_WATCHDOG_MS 5000
#endif

#define ROW_BYTES ((ROWS + 7) / 8)
#define COLUMN_BYTES ((COLUMNS + 7) / 8)
#define LINES (ROWS > COLUMNS ? ROWS : COLUMNS)
#define LINE_BYTES ((LINES + 7) / 8)
#define SLOT_BYTES (ROW_BYTES + COLUMN_BYTES)

/* A board that contradicts itself does not compile. */
typedef char board_has_arrays[ARRAYS >= 1 && ARRAYS <= 255 ? 1 : -1];
typedef char board_has_lines[ROWS >= 1 && ROWS <= 4096 && COLUMNS >= 1 && COLUMNS <= 4096 ? 1 : -1];
typedef char board_has_a_name[sizeof CHIP_NAME <= 17 ? 1 : -1];
typedef char input_codes_fit[MAX_INPUT < (1L << (INPUT_BITS - 1)) && INPUT_BITS <= 16 ? 1 : -1];
typedef char output_codes_fit[OUTPUT_BITS >= 2 && OUTPUT_BITS <= 16 ? 1 : -1];
typedef char arm_fits_a_request[MAX_REQUEST >= 16 + 28 * 16 ? 1 : -1];
typedef char a_vector_fits_a_reply[MAX_REPLY >= 1 + 2 * LINES ? 1 : -1];
typedef char rails_are_codes[MAX_LINE <= 32767 && MAX_CELL <= 32767 && MAX_HALF <= 32767 && MAX_GATE <= 32767 ? 1 : -1];
typedef char watchdog_fits[MAX_WATCHDOG_MS <= 65535 && MAX_BL <= 65535 && MAX_COMPLIANCE <= 65535 ? 1 : -1];

#endif
