/* Memory of this process, as /proc/self/status tells it. getrusage would not do for the peak: across exec it
 * keeps that of the program that started this one. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "edgesparse_profile.h"

/* Takes the number of a line that begins with `label` and is in KiB. */
static void take(const char *line, const char *label, double *bytes)
{
    const size_t size = strlen(label);
    if (strncmp(line, label, size) == 0) {
        *bytes = (double)strtoul(line + size, NULL, 10) * 1024;
    }
}

void es_resident_read(es_resident *resident)
{
    FILE *const file = fopen("/proc/self/status", "r");
    char line[128];
    *resident = (es_resident){NAN, NAN, NAN};
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        take(line, "VmHWM:", &resident->peak_bytes);
        take(line, "RssFile:", &resident->mapped_bytes);
        take(line, "RssAnon:", &resident->anonymous_bytes);
    }
    if (file != NULL) {
        fclose(file);
    }
}
