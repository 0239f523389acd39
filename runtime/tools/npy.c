#include "npy.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fatal.h"

#define MAGIC "\x93NUMPY"
enum { MAGIC_BYTES = 6, MAX_READ_HEADER_BYTES = 1 << 16 };

static const struct {
    es_dtype dtype;
    const char *descr;
} descriptions[] = {
    {ES_FLOAT32, "<f4"}, {ES_FLOAT16, "<f2"}, {ES_FLOAT64, "<f8"}, {ES_INT8, "|i1"},
    {ES_UINT8, "|u1"},   {ES_INT16, "<i2"},   {ES_UINT16, "<u2"},  {ES_INT32, "<i4"},
    {ES_UINT32, "<u4"},  {ES_INT64, "<i8"},   {ES_UINT64, "<u8"},  {ES_BOOL, "|b1"},
};

/* What the header of a file says. */
typedef struct npy_facts {
    char descr[16];
    bool fortran_order;
    size_t rank;
    uint32_t dims[ES_MAX_RANK];
} npy_facts;

static const char *describe_dtype(es_dtype dtype)
{
    for (size_t i = 0; i < sizeof descriptions / sizeof descriptions[0]; i++) {
        if (descriptions[i].dtype == dtype) {
            return descriptions[i].descr;
        }
    }
    fatal("element type %d has no .npy name", (int)dtype);
}

void format_shape(const uint32_t *dims, size_t rank, char text[SHAPE_TEXT_BYTES])
{
    int used = snprintf(text, SHAPE_TEXT_BYTES, "(");
    for (size_t i = 0; i < rank; i++) {
        used += snprintf(text + used, SHAPE_TEXT_BYTES - (size_t)used, i > 0 ? ", %lu" : "%lu",
                         (unsigned long)dims[i]);
    }
    snprintf(text + used, SHAPE_TEXT_BYTES - (size_t)used, rank == 1 ? ",)" : ")");
}

static const char *skip_spaces(const char *at)
{
    while (*at == ' ') {
        at++;
    }
    return at;
}

/* The value of a key in the header, which is the text of a Python dict. */
static const char *find_value(const char *header, const char *key, const char *path)
{
    const char *at = strstr(header, key);
    if (at == NULL) {
        fatal("%s: is damaged: its header has no %s", path, key);
    }
    at = skip_spaces(at + strlen(key));
    if (*at != ':') {
        fatal("%s: is damaged: its header has no value for %s", path, key);
    }
    return skip_spaces(at + 1);
}

static void parse_descr(const char *value, const char *path, npy_facts *facts)
{
    const char *const end = *value == '\'' ? strchr(value + 1, '\'') : NULL;
    if (end == NULL || (size_t)(end - value) > sizeof facts->descr) {
        fatal("%s: holds records, expected plain numbers", path);
    }
    const size_t size = (size_t)(end - value - 1);
    memcpy(facts->descr, value + 1, size);
    facts->descr[size] = '\0';
}

static void parse_shape(const char *value, const char *path, npy_facts *facts)
{
    if (*value != '(') {
        fatal("%s: is damaged: its shape is not a tuple", path);
    }
    for (const char *at = skip_spaces(value + 1); *at != ')';) {
        char *end;
        errno = 0;
        const unsigned long long dim = strtoull(at, &end, 10);
        if (end == at || errno != 0 || dim > UINT32_MAX) {
            fatal("%s: is damaged: its shape is not a tuple of numbers", path);
        }
        if (facts->rank == ES_MAX_RANK) {
            fatal("%s: has more than %d dimensions", path, ES_MAX_RANK);
        }
        facts->dims[facts->rank++] = (uint32_t)dim;
        at = skip_spaces(end);
        if (*at == ',') {
            at = skip_spaces(at + 1);
        }
    }
}

static void read_exactly(FILE *file, void *data, size_t size_bytes, const char *path)
{
    if (fread(data, 1, size_bytes, file) != size_bytes) {
        fatal("%s: is shorter than its header says", path);
    }
}

static npy_facts read_header(FILE *file, const char *path)
{
    unsigned char start[8];
    if (fread(start, 1, sizeof start, file) != sizeof start ||
        memcmp(start, MAGIC, MAGIC_BYTES) != 0) {
        fatal("%s: is not a .npy file; save it with numpy.save", path);
    }
    if (start[6] < 1 || start[6] > 3) {
        fatal("%s: has .npy version %d, expected 1 to 3", path, start[6]);
    }
    const size_t length_bytes = start[6] == 1 ? 2 : 4;
    unsigned char length[4] = {0};
    read_exactly(file, length, length_bytes, path);
    const size_t header_bytes = (size_t)length[0] | (size_t)length[1] << 8 |
                                (size_t)length[2] << 16 | (size_t)length[3] << 24;
    if (header_bytes > MAX_READ_HEADER_BYTES) {
        fatal("%s: has a header of %zu bytes, expected at most %d", path, header_bytes,
              MAX_READ_HEADER_BYTES);
    }
    char *const header = allocate(header_bytes + 1, 1);
    read_exactly(file, header, header_bytes, path);
    npy_facts facts = {.rank = 0};
    parse_descr(find_value(header, "'descr'", path), path, &facts);
    facts.fortran_order =
        strncmp(find_value(header, "'fortran_order'", path), "True", 4) == 0;
    parse_shape(find_value(header, "'shape'", path), path, &facts);
    free(header);
    return facts;
}

static void check_facts(const npy_facts *facts, const char *path, const es_tensor_info *info)
{
    if (strcmp(facts->descr, describe_dtype(info->dtype)) != 0) {
        fatal("%s: input '%s': got element type %s, expected %s (%s); convert with "
              "array.astype('%s')",
              path, info->name, facts->descr, describe_dtype(info->dtype), info->dtype_name,
              info->dtype_name);
    }
    if (facts->rank != info->rank ||
        memcmp(facts->dims, info->dims, info->rank * sizeof info->dims[0]) != 0) {
        char got[SHAPE_TEXT_BYTES];
        char expected[SHAPE_TEXT_BYTES];
        format_shape(facts->dims, facts->rank, got);
        format_shape(info->dims, info->rank, expected);
        fatal("%s: input '%s': got shape %s, expected %s", path, info->name, got, expected);
    }
    if (facts->fortran_order) {
        fatal("%s: input '%s': got Fortran order, expected C order; save "
              "numpy.ascontiguousarray(array)",
              path, info->name);
    }
}

es_input npy_read(const char *path, const es_tensor_info *info)
{
    FILE *const file = fopen(path, "rb");
    if (file == NULL) {
        fatal("%s: cannot be opened: %s", path, strerror(errno));
    }
    const npy_facts facts = read_header(file, path);
    check_facts(&facts, path, info);
    void *const data = allocate(info->size_bytes, 1);
    read_exactly(file, data, info->size_bytes, path);
    if (fgetc(file) != EOF) {
        fatal("%s: is longer than its header says", path);
    }
    fclose(file);
    return (es_input){.data = data, .size_bytes = info->size_bytes};
}

size_t npy_header(const es_tensor_info *info, char header[NPY_MAX_HEADER_BYTES])
{
    enum { PREFIX_BYTES = 10, ALIGN = 64 };
    char shape[SHAPE_TEXT_BYTES];
    format_shape(info->dims, info->rank, shape);
    const int text_bytes = snprintf(header + PREFIX_BYTES, NPY_MAX_HEADER_BYTES - PREFIX_BYTES,
                                    "{'descr': '%s', 'fortran_order': False, 'shape': %s, }",
                                    describe_dtype(info->dtype), shape);
    const size_t used = PREFIX_BYTES + (size_t)text_bytes;
    const size_t total = (used + 1 + ALIGN - 1) / ALIGN * ALIGN;
    memset(header + used, ' ', total - used);
    header[total - 1] = '\n';
    memcpy(header, MAGIC, MAGIC_BYTES);
    header[6] = 1;
    header[7] = 0;
    header[8] = (char)((total - PREFIX_BYTES) & 0xff);
    header[9] = (char)((total - PREFIX_BYTES) >> 8);
    return total;
}

void npy_write(const char *path, const es_tensor_info *info, const void *data)
{
    char header[NPY_MAX_HEADER_BYTES];
    const size_t header_bytes = npy_header(info, header);
    FILE *const file = fopen(path, "wb");
    if (file == NULL) {
        fatal("%s: cannot be written: %s", path, strerror(errno));
    }
    const bool written = fwrite(header, 1, header_bytes, file) == header_bytes &&
                         fwrite(data, 1, info->size_bytes, file) == info->size_bytes;
    if (fclose(file) != 0 || !written) {
        fatal("%s: cannot be written: %s", path, strerror(errno));
    }
}
