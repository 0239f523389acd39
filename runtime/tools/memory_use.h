/* What the system tells of the memory of this process. */
#ifndef MEMORY_USE_H
#define MEMORY_USE_H

#include <stdbool.h>

/* Finds a line of /proc/self/status, such as "VmHWM:"; false where there is none. getrusage would not do
 * for the peak: across exec it keeps that of the program that started this one. */
bool memory_use_kib(const char *label, unsigned long *kib);

#endif
