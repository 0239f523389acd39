#include "options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arguments.h"
#include "fatal.h"
#include "placement.h"

static const char usage[] =
    "usage: esrun MODEL.esp [options]\n"
    "  --input [NAME=]FILE.npy    an input; the name may be left out if the model has one\n"
    "  --image [NAME=]FILE.ppm    a picture (P6, P5) for an input that takes frames\n"
    "  --top N                    print the N largest elements of an output, with their labels;\n"
    "                             5 with --image and without --output\n"
    "  --output [NAME=]FILE.npy   where to write an output; without a name, the first\n"
    "  --output FILE.npz          where to write all outputs\n"
    "  --threads N                threads, the main one included (1)\n"
    "  --cores LIST               CPUs to run on, such as 4-7 or 0,2,3; all threads may use all of them\n"
    "  --spin-us N                how long a thread spins between runs before it sleeps (50); 0 spares a battery\n"
    "  --priority N               added to the nice value, 0 to 19: the larger, the less urgent (0)\n"
    "  --repeat K                 run K times after a first run and print the latency\n"
    "  --profile                  run for a while, and tell latency, memory, energy and each layer\n"
    "  --seconds S                of --profile (10); energy needs 60\n"
    "  --rate N                   of --profile: runs a second; one after the other without it\n"
    "  --meter NAME               of --profile: auto (auto), none, pmic, jetson, hwmon, hwmon:DEVICE,\n"
    "                             rapl or battery\n"
    "  --battery WH               of --profile: say how long a battery of so many watt-hours lasts\n"
    "  --check                    also verify the checksum of the weights\n"
    "  --verify                   compare outputs for made-up inputs, bit by bit, with what the artifact promises\n"
    "  --tune                     run on made-up inputs and print the time of each layer as JSON,\n"
    "                             for edgesparse tune --measured; 200 runs without --repeat\n"
    "  --version                  print the version\n"
    "  --serve                    alone: answer requests on stdin, for edgesparse --on\n"
    "Without inputs, prints the inputs and outputs of the model.\n";

enum {
    MAX_TOP = 100,
    USUAL_TOP = 5
};

static void add_file(const char **files, size_t *count, const char *file, const char *option)
{
    if (*count == MAX_FILES) {
        bad_usage("%s: is given more than %d times", option, MAX_FILES);
    }
    files[(*count)++] = file;
}

/* Takes one option with a value; false if `name` is none. */
static bool take_option(options *chosen, const char *name, const char *value)
{
    if (strcmp(name, "--input") == 0) {
        add_file(chosen->inputs, &chosen->input_count, value, name);
    } else if (strcmp(name, "--image") == 0) {
        add_file(chosen->inputs, &chosen->input_count, value, name);
        chosen->is_image[chosen->input_count - 1] = true;
    } else if (strcmp(name, "--top") == 0) {
        chosen->top = parse_number(value, name, 1, MAX_TOP);
    } else if (strcmp(name, "--output") == 0) {
        add_file(chosen->outputs, &chosen->output_count, value, name);
    } else if (strcmp(name, "--threads") == 0) {
        chosen->pool.threads = (uint32_t)parse_number(value, name, 1, ES_MAX_THREADS);
    } else if (strcmp(name, "--repeat") == 0) {
        chosen->repeat = parse_number(value, name, 1, 1000000);
    } else if (strcmp(name, "--seconds") == 0) {
        chosen->seconds = parse_amount(value, name, "s", 1e6);
    } else if (strcmp(name, "--rate") == 0) {
        chosen->rate_hz = parse_amount(value, name, "/s", 1e6);
    } else if (strcmp(name, "--battery") == 0) {
        chosen->battery_wh = parse_amount(value, name, "Wh", 1e6);
    } else if (strcmp(name, "--meter") == 0) {
        chosen->meter = value;
    } else {
        return take_placement(&chosen->pool, name, value);
    }
    return true;
}

options parse_arguments(int count, char **arguments)
{
    options chosen = {.pool = ES_POOL_OPTIONS, .seconds = 10, .meter = "auto"};
    for (int i = 1; i < count; i++) {
        const char *const argument = arguments[i];
        if (strcmp(argument, "--help") == 0) {
            fputs(usage, stdout);
            exit(0);
        } else if (strcmp(argument, "--version") == 0) {
            printf("esrun %s\n", es_version());
            exit(0);
        } else if (strcmp(argument, "--profile") == 0) {
            chosen.profile = true;
        } else if (strcmp(argument, "--check") == 0) {
            chosen.check = true;
        } else if (strcmp(argument, "--verify") == 0) {
            chosen.verify = true;
        } else if (strcmp(argument, "--tune") == 0) {
            chosen.tune = true;
        } else if (strncmp(argument, "--", 2) == 0) {
            if (!take_option(&chosen, argument, i + 1 < count ? arguments[i + 1] : "")) {
                bad_usage("unknown option '%s'; see esrun --help", argument);
            }
            if (++i == count) {
                bad_usage("%s: its value is missing", argument);
            }
        } else if (chosen.model == NULL) {
            chosen.model = argument;
        } else {
            bad_usage("got '%s' besides the model '%s'; see esrun --help", argument, chosen.model);
        }
    }
    if (chosen.model == NULL) {
        bad_usage("no model is given; see esrun --help");
    }
    for (size_t i = 0; i < chosen.input_count && chosen.output_count == 0 && chosen.top == 0; i++) {
        chosen.top = chosen.is_image[i] ? USUAL_TOP : 0;
    }
    return chosen;
}
