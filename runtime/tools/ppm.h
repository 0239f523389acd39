/* Pictures in files of the netpbm family: P6 (.ppm) and P5 (.pgm), of 8 bits. */
#ifndef PPM_H
#define PPM_H

#include "edgesparse.h"

/* Reads a picture as the frame that an input takes: of its size, in its order of channels. Ends the
 * program if the file or the input does not fit. */
es_input ppm_read(const char *path, const es_tensor_info *info);

#endif
