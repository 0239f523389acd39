#include "memory_use.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool memory_use_kib(const char *label, unsigned long *kib)
{
    FILE *const file = fopen("/proc/self/status", "r");
    const size_t size = strlen(label);
    bool found = false;
    char line[128];
    while (file != NULL && !found && fgets(line, sizeof line, file) != NULL) {
        found = strncmp(line, label, size) == 0;
        if (found) {
            *kib = strtoul(line + size, NULL, 10);
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    return found;
}
