#include "hal_options.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char HELP[] =
    "usage: board --chip SOCKET --store FILE [options]\n"
    "The reference firmware as a process: speaks docs/protocol.md on a pseudo-terminal, whose name it prints.\n"
    "  --chip SOCKET                      Unix socket of the emulated chip (docs/emulator.md)\n"
    "  --store FILE                       non-volatile pulse counters; made where there is none\n"
    "  --link PATH                        a symbolic link to the pseudo-terminal\n"
    "  --boot N                           number of this start, for tests (random)\n"
    "  --volts-per-rail-code V            (0.001)\n"
    "  --volts-per-input-code V           (0.2 / 63)\n"
    "  --volts-per-gate-code V            (0.001)\n"
    "  --amperes-full-scale A             of the largest output code (96e-6)\n"
    "  --amperes-per-compliance-code A    (1e-6)\n";

static bool text_option(const char *name, const char *value, struct options *options)
{
    const struct { const char *name; const char **at; } texts[] = {
        {"--link", &options->link}, {"--chip", &options->chip}, {"--store", &options->store}};
    for (size_t n = 0; n < sizeof texts / sizeof *texts; n++)
        if (strcmp(name, texts[n].name) == 0) {
            *texts[n].at = value;
            return true;
        }
    return false;
}

static bool number_option(const char *name, const char *value, struct options *options)
{
    const struct { const char *name; double *at; } numbers[] = {
        {"--volts-per-rail-code", &options->volts_per_rail_code},
        {"--volts-per-input-code", &options->volts_per_input_code},
        {"--volts-per-gate-code", &options->volts_per_gate_code},
        {"--amperes-full-scale", &options->amperes_full_scale},
        {"--amperes-per-compliance-code", &options->amperes_per_compliance_code}};
    char *end;
    if (strcmp(name, "--boot") == 0) {
        options->boot = (uint32_t)strtoul(value, &end, 0);
        return *end == '\0' && options->boot != 0;
    }
    for (size_t n = 0; n < sizeof numbers / sizeof *numbers; n++)
        if (strcmp(name, numbers[n].name) == 0) {
            *numbers[n].at = strtod(value, &end);
            return *end == '\0' && *numbers[n].at > 0 && *numbers[n].at < 1e6;
        }
    return false;
}

bool options_read(int argc, char **argv, struct options *options)
{
    *options = (struct options){.volts_per_rail_code = 1e-3, .volts_per_input_code = 0.2 / 63, .volts_per_gate_code = 1e-3,
                                .amperes_full_scale = 96e-6, .amperes_per_compliance_code = 1e-6};
    for (int n = 1; n < argc; n += 2) {
        if (strcmp(argv[n], "--help") == 0) {
            fputs(HELP, stdout);
            exit(0);
        }
        if (n + 1 == argc || (!text_option(argv[n], argv[n + 1], options) && !number_option(argv[n], argv[n + 1], options))) {
            fprintf(stderr, "board: cannot use %s %s; see board --help\n", argv[n], n + 1 < argc ? argv[n + 1] : "");
            return false;
        }
    }
    if (!options->chip || !options->store)
        fputs(HELP, stderr);
    return options->chip && options->store;
}
