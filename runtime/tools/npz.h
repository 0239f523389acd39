/* numpy's .npz files: a zip archive of .npy files, stored without compression. */
#ifndef NPZ_H
#define NPZ_H

#include "edgesparse.h"

/* Writes all outputs under their names; a failure is fatal. */
void npz_write(const char *path, const es_tensor_info *infos, const es_output *outputs,
               size_t count);

#endif
