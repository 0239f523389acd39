/* SHA-256, FIPS 180-4. */
#ifndef ES_SHA256_H
#define ES_SHA256_H

#include <stddef.h>
#include <stdint.h>

typedef struct es_sha256 {
    uint32_t state[8];
    uint64_t size_bytes;
    uint8_t block[64];
} es_sha256;

void es_sha256_start(es_sha256 *hash);
void es_sha256_add(es_sha256 *hash, const void *data, size_t size_bytes);
void es_sha256_finish(es_sha256 *hash, uint8_t digest[32]);

#endif
