/* Kernels of the test model: y = relu(w @ x + bias), g = y[rows], s = sum of each row of g. */
#include <stdint.h>

enum { M = 16, K = 24, N = 33, TILE = 8 };

/* args: indptr [M+1] i32, indices u16, values f32, bias [M], x [K, N], y [M, N]; a tile is TILE columns. */
void spmm(void *const *args, int32_t begin, int32_t end)
{
    const int32_t *const indptr = args[0];
    const uint16_t *const indices = args[1];
    const float *const values = args[2];
    const float *const bias = args[3];
    const float *const x = args[4];
    float *const y = args[5];
    const int32_t last = end * TILE < N ? end * TILE : N;
    for (int32_t row = 0; row < M; row++) {
        for (int32_t column = begin * TILE; column < last; column++) {
            float sum = bias[row];
            for (int32_t p = indptr[row]; p < indptr[row + 1]; p++) {
                sum += values[p] * x[indices[p] * N + column];
            }
            y[row * N + column] = sum > 0 ? sum : 0;
        }
    }
}

/* args: rows [M] i32, y [M, N], g [M, N]; a tile is a row. */
void gather(void *const *args, int32_t begin, int32_t end)
{
    const int32_t *const rows = args[0];
    const float *const y = args[1];
    float *const g = args[2];
    for (int32_t row = begin; row < end; row++) {
        for (int32_t column = 0; column < N; column++) {
            g[row * N + column] = y[rows[row] * N + column];
        }
    }
}

/* args: g [M, N], scratch [N], s [M]; a tile is a row. */
void row_sum(void *const *args, int32_t begin, int32_t end)
{
    const float *const g = args[0];
    volatile float *const scratch = args[1];
    float *const s = args[2];
    for (int32_t row = begin; row < end; row++) {
        for (int32_t column = 0; column < N; column++) {
            scratch[column] = g[row * N + column];
        }
        float sum = 0;
        for (int32_t column = 0; column < N; column++) {
            sum += scratch[column];
        }
        s[row] = sum;
    }
}

/* args: counts [tiles] i32; each tile counts one. */
void count_up(void *const *args, int32_t begin, int32_t end)
{
    int32_t *const counts = args[0];
    for (int32_t tile = begin; tile < end; tile++) {
        counts[tile] += 1;
    }
}

/* args: x [1] i32, y [1] i32; takes a noticeable time. */
void dawdle(void *const *args, int32_t begin, int32_t end)
{
    const int32_t *const x = args[0];
    int32_t *const y = args[1];
    volatile int32_t turns = 3000000;
    while (turns > 0) {
        turns = turns - 1;
    }
    for (int32_t tile = begin; tile < end; tile++) {
        y[tile] = x[tile] + 1;
    }
}
