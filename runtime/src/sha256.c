#include "sha256.h"

#include <string.h>

static const uint32_t initial_state[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                          0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

static const uint32_t round_constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static uint32_t rotate_right(uint32_t word, unsigned count)
{
    return (word >> count) | (word << (32 - count));
}

static uint32_t load_big_endian(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

static void store_big_endian(uint8_t *bytes, uint32_t word)
{
    for (unsigned i = 0; i < 4; i++) {
        bytes[i] = (uint8_t)(word >> (24 - 8 * i));
    }
}

static void expand_schedule(uint32_t schedule[64], const uint8_t block[64])
{
    for (size_t i = 0; i < 16; i++) {
        schedule[i] = load_big_endian(block + 4 * i);
    }
    for (size_t i = 16; i < 64; i++) {
        const uint32_t w15 = schedule[i - 15];
        const uint32_t w2 = schedule[i - 2];
        const uint32_t s0 = rotate_right(w15, 7) ^ rotate_right(w15, 18) ^ (w15 >> 3);
        const uint32_t s1 = rotate_right(w2, 17) ^ rotate_right(w2, 19) ^ (w2 >> 10);
        schedule[i] = schedule[i - 16] + s0 + schedule[i - 7] + s1;
    }
}

static void compress(uint32_t state[8], const uint8_t block[64])
{
    uint32_t schedule[64];
    expand_schedule(schedule, block);
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
    uint32_t e = state[4], f = state[5], g = state[6], h = state[7];
    for (size_t i = 0; i < 64; i++) {
        const uint32_t s1 = rotate_right(e, 6) ^ rotate_right(e, 11) ^ rotate_right(e, 25);
        const uint32_t choice = (e & f) ^ (~e & g);
        const uint32_t t1 = h + s1 + choice + round_constants[i] + schedule[i];
        const uint32_t s0 = rotate_right(a, 2) ^ rotate_right(a, 13) ^ rotate_right(a, 22);
        const uint32_t majority = (a & b) ^ (a & c) ^ (b & c);
        h = g, g = f, f = e, e = d + t1;
        d = c, c = b, b = a, a = t1 + s0 + majority;
    }
    state[0] += a, state[1] += b, state[2] += c, state[3] += d;
    state[4] += e, state[5] += f, state[6] += g, state[7] += h;
}

void es_sha256_start(es_sha256 *hash)
{
    *hash = (es_sha256){.size_bytes = 0};
    memcpy(hash->state, initial_state, sizeof initial_state);
}

void es_sha256_add(es_sha256 *hash, const void *data, size_t size_bytes)
{
    const uint8_t *bytes = data;
    const size_t used = (size_t)(hash->size_bytes % 64);
    hash->size_bytes += size_bytes;
    if (used > 0) {
        const size_t wanted = 64 - used;
        const size_t taken = size_bytes < wanted ? size_bytes : wanted;
        memcpy(hash->block + used, bytes, taken);
        bytes += taken;
        size_bytes -= taken;
        if (taken < wanted) {
            return;
        }
        compress(hash->state, hash->block);
    }
    for (; size_bytes >= 64; bytes += 64, size_bytes -= 64) {
        compress(hash->state, bytes);
    }
    if (size_bytes > 0) {
        memcpy(hash->block, bytes, size_bytes);
    }
}

void es_sha256_finish(es_sha256 *hash, uint8_t digest[32])
{
    const uint64_t size_bits = hash->size_bytes * 8;
    static const uint8_t padding[64] = {0x80};
    const size_t used = (size_t)(hash->size_bytes % 64);
    es_sha256_add(hash, padding, used < 56 ? 56 - used : 120 - used);
    uint8_t size_field[8];
    store_big_endian(size_field, (uint32_t)(size_bits >> 32));
    store_big_endian(size_field + 4, (uint32_t)size_bits);
    es_sha256_add(hash, size_field, sizeof size_field);
    for (size_t i = 0; i < 8; i++) {
        store_big_endian(digest + 4 * i, hash->state[i]);
    }
}
