/* What esrun is asked to do. */
#ifndef OPTIONS_H
#define OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "edgesparse.h"

enum { MAX_FILES = 64 };

typedef struct options {
    const char *model;
    const char *inputs[MAX_FILES];
    bool is_image[MAX_FILES]; /* of each input */
    const char *outputs[MAX_FILES];
    size_t input_count;
    size_t output_count;
    es_pool_options pool;
    size_t top;    /* 0: print none */
    size_t repeat; /* 0: run once, print no latency */
    bool profile;
    double seconds;    /* of a profile */
    double rate_hz;    /* 0: one run after the other */
    double battery_wh; /* 0: there is none */
    const char *meter;
    bool check;
    bool verify;
    bool tune;
} options;

/* Reads the command line; ends the program if it is wrong, or asks for help. */
options parse_arguments(int count, char **arguments);

#endif
