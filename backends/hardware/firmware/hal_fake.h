/* What tests see of hal_fake.c. */
#ifndef HAL_FAKE_H
#define HAL_FAKE_H

#include <stdbool.h>
#include <stdint.h>

extern uint32_t fake_clock;    /* milliseconds */
extern uint64_t fake_pulses;   /* device pulses that were fired, counted slot by slot */
extern uint64_t fake_ns;       /* how long pulses and waits took */
extern uint8_t fake_status;    /* of the last reply */
extern bool fake_resting;      /* all outputs are at rest */

#endif
