#include "npz.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "fatal.h"
#include "npy.h"

enum {
    CENTRAL_HEADER_BYTES = 46,
    ZIP_VERSION = 20,
    UTF8_NAMES = 1 << 11,
    DOS_DATE = 1 << 5 | 1 /* 1 January 1980, as numpy writes */
};
static const char suffix[] = ".npy";

/* One member of the archive. */
typedef struct member {
    const char *name;
    uint32_t checksum;
    uint32_t size_bytes;
    uint32_t offset;
} member;

/* An archive being written. */
typedef struct archive {
    FILE *file;
    const char *path;
    uint64_t size_bytes;
} archive;

/* A little-endian record being filled. */
typedef struct record {
    uint8_t bytes[CENTRAL_HEADER_BYTES];
    size_t size;
} record;

static void put(record *out, uint32_t value, size_t size_bytes)
{
    for (size_t i = 0; i < size_bytes; i++) {
        out->bytes[out->size++] = (uint8_t)(value >> (8 * i));
    }
}

static void append(archive *out, const void *data, size_t size_bytes)
{
    if (fwrite(data, 1, size_bytes, out->file) != size_bytes) {
        fatal("%s: cannot be written: %s", out->path, strerror(errno));
    }
    out->size_bytes += size_bytes;
    if (out->size_bytes > UINT32_MAX) {
        fatal("%s: the outputs are too large for a .npz file; write .npy files", out->path);
    }
}

static uint32_t add_to_crc32(uint32_t crc, const void *data, size_t size_bytes)
{
    const uint8_t *const bytes = data;
    crc = ~crc;
    for (size_t i = 0; i < size_bytes; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc >> 1) ^ (0xEDB88320u & (0u - (crc & 1)));
        }
    }
    return ~crc;
}

/* The fields that a member's local and central headers share. */
static void put_facts(record *out, const member *entry)
{
    put(out, ZIP_VERSION, 2);
    put(out, UTF8_NAMES, 2);
    put(out, 0, 2); /* stored */
    put(out, 0, 2); /* midnight */
    put(out, DOS_DATE, 2);
    put(out, entry->checksum, 4);
    put(out, entry->size_bytes, 4);
    put(out, entry->size_bytes, 4);
    put(out, (uint32_t)(strlen(entry->name) + strlen(suffix)), 2);
    put(out, 0, 2); /* no extra field */
}

static void append_record(archive *out, const record *header, const char *name)
{
    append(out, header->bytes, header->size);
    append(out, name, strlen(name));
    append(out, suffix, strlen(suffix));
}

static member append_member(archive *out, const es_tensor_info *info, const void *data)
{
    char npy[NPY_MAX_HEADER_BYTES];
    const size_t npy_bytes = npy_header(info, npy);
    const uint32_t checksum = add_to_crc32(add_to_crc32(0, npy, npy_bytes), data, info->size_bytes);
    const member entry = {.name = info->name,
                          .checksum = checksum,
                          .size_bytes = (uint32_t)(npy_bytes + info->size_bytes),
                          .offset = (uint32_t)out->size_bytes};
    record header = {.size = 0};
    put(&header, 0x04034b50, 4);
    put_facts(&header, &entry);
    append_record(out, &header, entry.name);
    append(out, npy, npy_bytes);
    append(out, data, info->size_bytes);
    return entry;
}

static void append_central_header(archive *out, const member *entry)
{
    record header = {.size = 0};
    put(&header, 0x02014b50, 4);
    put(&header, ZIP_VERSION, 2);
    put_facts(&header, entry);
    put(&header, 0, 2); /* no comment */
    put(&header, 0, 2); /* first disk */
    put(&header, 0, 2); /* binary */
    put(&header, 0, 4);
    put(&header, entry->offset, 4);
    append_record(out, &header, entry->name);
}

static void append_end(archive *out, size_t count, uint64_t directory)
{
    record end = {.size = 0};
    put(&end, 0x06054b50, 4);
    put(&end, 0, 2);
    put(&end, 0, 2);
    put(&end, (uint32_t)count, 2);
    put(&end, (uint32_t)count, 2);
    put(&end, (uint32_t)(out->size_bytes - directory), 4);
    put(&end, (uint32_t)directory, 4);
    put(&end, 0, 2);
    append(out, end.bytes, end.size);
}

void npz_write(const char *path, const es_tensor_info *infos, const es_output *outputs, size_t count)
{
    archive out = {.file = fopen(path, "wb"), .path = path};
    if (out.file == NULL) {
        fatal("%s: cannot be written: %s", path, strerror(errno));
    }
    member *const members = allocate(count, sizeof *members);
    for (size_t i = 0; i < count; i++) {
        members[i] = append_member(&out, &infos[i], outputs[i].data);
    }
    const uint64_t directory = out.size_bytes;
    for (size_t i = 0; i < count; i++) {
        append_central_header(&out, &members[i]);
    }
    append_end(&out, count, directory);
    if (fclose(out.file) != 0) {
        fatal("%s: cannot be written: %s", path, strerror(errno));
    }
}
