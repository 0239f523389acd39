/* numpy's .npy files, versions 1 to 3: little-endian, C order. */
#ifndef NPY_H
#define NPY_H

#include "edgesparse.h"

enum {
    NPY_MAX_HEADER_BYTES = 256, /* of what npy_header writes */
    SHAPE_TEXT_BYTES = 128
};

/* Reads a file whose array must have the type and shape of `info`; anything else is fatal. */
es_input npy_read(const char *path, const es_tensor_info *info);

/* Writes the header of a .npy file that holds `info`, and returns its size in bytes. */
size_t npy_header(const es_tensor_info *info, char header[NPY_MAX_HEADER_BYTES]);

/* Writes an output as a .npy file; a failure is fatal. */
void npy_write(const char *path, const es_tensor_info *info, const void *data);

/* Formats a shape as Python does: (1, 3), (4,) or (). */
void format_shape(const uint32_t *dims, size_t rank, char text[SHAPE_TEXT_BYTES]);

#endif
