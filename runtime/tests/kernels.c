/* Kernels of the test model: y = relu(w @ x + bias), g = y[rows], s = sum of each row of g. */
#include <stdint.h>

enum { M = 16, K = 24, N = 33, TILE = 8 };

/* args: indptr [M+1] i32, indices u16, values f32, bias [M], x [K, N], y [M, N]; a tile is TILE columns. */
int32_t spmm(void *const *args, int32_t begin, int32_t end, int64_t *fault)
{
    (void)fault;
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
    return 0;
}

/* args: rows [M] i32, y [M, N], g [M, N]; a tile is a row. */
int32_t gather(void *const *args, int32_t begin, int32_t end, int64_t *fault)
{
    (void)fault;
    const int32_t *const rows = args[0];
    const float *const y = args[1];
    float *const g = args[2];
    for (int32_t row = begin; row < end; row++) {
        for (int32_t column = 0; column < N; column++) {
            g[row * N + column] = y[rows[row] * N + column];
        }
    }
    return 0;
}

/* args: g [M, N], scratch [N], s [M]; a tile is a row. */
int32_t row_sum(void *const *args, int32_t begin, int32_t end, int64_t *fault)
{
    (void)fault;
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
    return 0;
}

/* args: counts [tiles] i32; each tile counts one. */
int32_t count_up(void *const *args, int32_t begin, int32_t end, int64_t *fault)
{
    (void)fault;
    int32_t *const counts = args[0];
    for (int32_t tile = begin; tile < end; tile++) {
        counts[tile] += 1;
    }
    return 0;
}

/* args: x [1] i32, y [1] i32; takes a noticeable time. */
int32_t dawdle(void *const *args, int32_t begin, int32_t end, int64_t *fault)
{
    (void)fault;
    const int32_t *const x = args[0];
    int32_t *const y = args[1];
    volatile int32_t turns = 3000000;
    while (turns > 0) {
        turns = turns - 1;
    }
    for (int32_t tile = begin; tile < end; tile++) {
        y[tile] = x[tile] + 1;
    }
    return 0;
}

/* args: ids [tiles] i64, table [8] i32, y [tiles] i32: y = table[ids]; refuses ids outside [0, 8). */
int32_t look_up(void *const *args, int32_t begin, int32_t end, int64_t *fault)
{
    const int64_t *const ids = args[0];
    const int32_t *const table = args[1];
    int32_t *const y = args[2];
    for (int32_t tile = begin; tile < end; tile++) {
        if (ids[tile] < 0 || ids[tile] >= 8) {
            const int64_t record[6] = {1, 0, tile, ids[tile], 0, 7};
            for (int i = 0; i < 6; i++) {
                fault[i] = record[i];
            }
            return 1;
        }
        y[tile] = table[ids[tile]];
    }
    return 0;
}

/* args: ids, table, y, script [7] i64; returns the first number of the script and says the others. */
int32_t fail_as(void *const *args, int32_t begin, int32_t end, int64_t *fault)
{
    const int64_t *const script = args[3];
    for (int i = 0; i < 6; i++) {
        fault[i] = script[i + 1];
    }
    return begin < end ? (int32_t)script[0] : 0;
}

/* args: y [tiles] f32; each tile takes its time and a division that has to be rounded. */
int32_t divide(void *const *args, int32_t begin, int32_t end, int64_t *fault)
{
    (void)fault;
    float *const y = args[0];
    for (int32_t tile = begin; tile < end; tile++) {
        volatile int32_t turns = 10000;
        while (turns > 0) {
            turns = turns - 1;
        }
        const volatile float three = 3.0f;
        y[tile] = (float)(tile + 1) / three;
    }
    return 0;
}

/* args: x [1] i32; tile 0 never ends, so that the other is a worker's, which writes where nothing is. */
int32_t crash(void *const *args, int32_t begin, int32_t end, int64_t *fault)
{
    (void)args;
    (void)end;
    (void)fault;
    const volatile int32_t first = begin;
    while (first == 0) {
    }
    *(volatile int32_t *)64 = 0;
    return 0;
}

/* args: memory, script [1] i64; writes to the byte of the memory that the script names. */
int32_t trespass(void *const *args, int32_t begin, int32_t end, int64_t *fault)
{
    (void)fault;
    volatile uint8_t *const memory = args[0];
    const int64_t *const script = args[1];
    if (begin < end) {
        memory[script[0]] = 1;
    }
    return 0;
}
