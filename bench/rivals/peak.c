/* Multiply-adds fed from L1: every one loads its vector, as the inner loop of a sparse kernel does. */
typedef float vec __attribute__((vector_size(LANES * sizeof(float))));

enum { ACCUMULATORS = 12, VECTORS = 192 };

void peak(const float *x, float *y, long repeats)
{
    const vec *from = (const vec *)x;
    const vec weight = from[0];
    vec sums[ACCUMULATORS] = {0};

    for (long r = 0; r < repeats; r++) {
        __asm__ volatile("" : : "r"(from) : "memory"); /* loads stay in the loop */
        for (int i = 0; i < VECTORS; i += ACCUMULATORS)
            for (int k = 0; k < ACCUMULATORS; k++)
                sums[k] += weight * from[i + k];
    }
    for (int k = 0; k < ACCUMULATORS; k++)
        ((vec *)y)[k] = sums[k];
}
