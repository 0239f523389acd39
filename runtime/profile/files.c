#define _GNU_SOURCE
#include "files.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

int es_file_open(const char *root, const char *path)
{
    char whole[ES_ERROR_BYTES];
    es_text(whole, "%s/%s", root, path);
    return open(whole, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
}

static size_t read_line(int file, char line[ES_LINE_BYTES])
{
    const ssize_t got = pread(file, line, ES_LINE_BYTES - 1, 0);
    size_t size = 0;
    while ((ssize_t)size < got && (unsigned char)line[size] >= 0x20) {
        size++;
    }
    while (size > 0 && line[size - 1] == ' ') {
        size--;
    }
    line[size] = '\0';
    return size;
}

bool es_file_line(const char *root, const char *path, char line[ES_LINE_BYTES])
{
    const int file = es_file_open(root, path);
    line[0] = '\0';
    if (file < 0) {
        return false;
    }
    const size_t size = read_line(file, line);
    close(file);
    return size > 0;
}

bool es_file_device(const char *root, const char *folder, char name[ES_LINE_BYTES])
{
    char path[ES_ERROR_BYTES];
    es_text(path, "%s/name", folder);
    return es_file_line(root, path, name);
}

bool es_file_number(int file, double *number)
{
    char line[ES_LINE_BYTES];
    const size_t size = read_line(file, line);
    const bool negative = line[0] == '-';
    double value = 0;
    for (size_t i = negative; i < size; i++) {
        if (line[i] < '0' || line[i] > '9') {
            return false;
        }
        value = value * 10 + (line[i] - '0');
    }
    *number = negative ? -value : value;
    return size > (size_t)negative && size < 30;
}

bool es_file_number_at(const char *root, const char *path, double *number)
{
    const int file = es_file_open(root, path);
    const bool found = file >= 0 && es_file_number(file, number);
    if (file >= 0) {
        close(file);
    }
    return found;
}
