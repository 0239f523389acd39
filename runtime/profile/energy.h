/* Figures from the windows of a profile. */
#ifndef ES_ENERGY_H
#define ES_ENERGY_H

#include "edgesparse_profile.h"

/* The median of an even or odd count of values and the lowest and highest of them, which hold the true median
 * of six with a confidence of 97 %; all NaN if one is. Sorts the values. */
es_figure es_figure_of(double *values, size_t count);

#endif
