/* Small files of the system, below a root that stands for "/". */
#ifndef ES_FILES_H
#define ES_FILES_H

#include <stdbool.h>
#include <stddef.h>

#include "text.h"

enum { ES_LINE_BYTES = 128 };

/* Opens a file for reading; -1 and errno if it cannot be. */
int es_file_open(const char *root, const char *path);

/* Reads the first line, without what is no text in it; false if there is none. */
bool es_file_line(const char *root, const char *path, char line[ES_LINE_BYTES]);

/* Reads the name of a device: the file of that name in its folder; false if there is none. */
bool es_file_device(const char *root, const char *folder, char name[ES_LINE_BYTES]);

/* Reads the number that an open file holds now. */
bool es_file_number(int file, double *number);

/* Reads the number that a file holds; false if it holds none. */
bool es_file_number_at(const char *root, const char *path, double *number);

#endif
