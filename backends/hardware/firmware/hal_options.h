/* The command line of the host build. */
#ifndef HAL_OPTIONS_H
#define HAL_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

struct options {
    const char *link, *chip, *store;
    uint32_t boot; /* 0: a random one */
    double volts_per_rail_code, volts_per_input_code, volts_per_gate_code;
    double amperes_full_scale, amperes_per_compliance_code;
};

/* False, with a message, where it cannot be used. */
bool options_read(int argc, char **argv, struct options *options);

#endif
