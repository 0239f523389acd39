#include "arg.h"

#include <string.h>

#define SITE_FORMAT "step %llu '%s': argument %llu "
#define SITE(site) ES_U((site).step), (site).step_name, ES_U((site).arg)

static int64_t read_i32(const uint8_t *bytes)
{
    int32_t value;
    memcpy(&value, bytes, sizeof value);
    return value;
}

static int64_t read_u16(const uint8_t *bytes)
{
    uint16_t value;
    memcpy(&value, bytes, sizeof value);
    return value;
}

/* Row pointers: the first is 0, none is below the one before it, the last is `limit`. */
static es_status check_indptr(es_bytes content, uint64_t limit, es_arg_site site, es_error *error)
{
    ES_REQUIRE(content.size % sizeof(int32_t) == 0 && content.size > 0, error, ES_ERR_INVALID,
               SITE_FORMAT "has %llu bytes of row pointers, expected a multiple of 4 above 0",
               SITE(site), ES_U(content.size));
    const size_t count = content.size / sizeof(int32_t);
    int64_t previous = 0;
    for (size_t i = 0; i < count; i++) {
        const int64_t value = read_i32(content.data + i * sizeof(int32_t));
        ES_REQUIRE(i > 0 || value == 0, error, ES_ERR_INVALID,
                   SITE_FORMAT "has row pointers that do not start at 0", SITE(site));
        ES_REQUIRE(value >= previous, error, ES_ERR_INVALID,
                   SITE_FORMAT "has row pointers that fall at element %llu", SITE(site), ES_U(i));
        previous = value;
    }
    ES_REQUIRE((uint64_t)previous == limit, error, ES_ERR_INVALID,
               SITE_FORMAT "has row pointers that end at %llu, expected %llu", SITE(site),
               ES_U(previous), ES_U(limit));
    return ES_OK;
}

static es_status check_indices(es_bytes content, size_t index_bytes, uint64_t limit,
                               es_arg_site site, es_error *error)
{
    ES_REQUIRE(content.size % index_bytes == 0, error, ES_ERR_INVALID,
               SITE_FORMAT "has %llu bytes of indices, expected a multiple of %llu", SITE(site),
               ES_U(content.size), ES_U(index_bytes));
    const size_t count = content.size / index_bytes;
    for (size_t i = 0; i < count; i++) {
        const uint8_t *const at = content.data + i * index_bytes;
        const int64_t value = index_bytes == sizeof(uint16_t) ? read_u16(at) : read_i32(at);
        ES_REQUIRE(value >= 0, error, ES_ERR_INVALID,
                   SITE_FORMAT "has a negative index at element %llu", SITE(site), ES_U(i));
        ES_REQUIRE((uint64_t)value < limit, error, ES_ERR_INVALID,
                   SITE_FORMAT "has index %llu at element %llu, expected less than %llu",
                   SITE(site), ES_U(value), ES_U(i), ES_U(limit));
    }
    return ES_OK;
}

static es_status check_content(const es_file_arg *arg, es_bytes weights, es_arg_site site,
                               es_error *error)
{
    if (arg->kind == ES_ARG_DATA) {
        ES_REQUIRE(arg->limit == 0, error, ES_ERR_INVALID,
                   SITE_FORMAT "is plain data with a limit of %llu, expected 0", SITE(site),
                   ES_U(arg->limit));
        return ES_OK;
    }
    ES_REQUIRE(arg->space == ES_SPACE_WEIGHTS, error, ES_ERR_INVALID,
               SITE_FORMAT "holds indices outside the weights, where they could change",
               SITE(site));
    const es_bytes content = {weights.data + arg->offset, (size_t)arg->size};
    switch (arg->kind) {
    case ES_ARG_INDPTR_I32:
        return check_indptr(content, arg->limit, site, error);
    case ES_ARG_INDEX_U16:
        return check_indices(content, sizeof(uint16_t), arg->limit, site, error);
    case ES_ARG_INDEX_I32:
        return check_indices(content, sizeof(int32_t), arg->limit, site, error);
    default:
        return es_fail(error, ES_ERR_UNSUPPORTED,
                       SITE_FORMAT "has the unknown kind %llu; install a newer runtime",
                       SITE(site), ES_U(arg->kind));
    }
}

es_status es_arg_check(const es_file_arg *arg, const es_spaces *spaces, es_arg_site site,
                       es_error *error)
{
    const char *name;
    uint64_t space_bytes;
    switch (arg->space) {
    case ES_SPACE_ARENA:
        name = "arena";
        space_bytes = spaces->arena_bytes;
        break;
    case ES_SPACE_WEIGHTS:
        name = "weights section";
        space_bytes = spaces->weights.size;
        break;
    case ES_SPACE_SCRATCH:
        name = "scratch buffer";
        space_bytes = spaces->scratch_bytes;
        break;
    default:
        return es_fail(error, ES_ERR_UNSUPPORTED,
                       SITE_FORMAT "is in the unknown space %llu; install a newer runtime",
                       SITE(site), ES_U(arg->space));
    }
    ES_REQUIRE(es_is_zero(arg->reserved, sizeof arg->reserved), error, ES_ERR_INVALID,
               SITE_FORMAT "has a reserved byte that is not zero", SITE(site));
    ES_REQUIRE(arg->offset % ES_DATA_ALIGN == 0, error, ES_ERR_INVALID,
               SITE_FORMAT "starts at byte %llu, which is not a multiple of %llu", SITE(site),
               ES_U(arg->offset), ES_U(ES_DATA_ALIGN));
    ES_REQUIRE(es_range_fits(arg->offset, arg->size, space_bytes), error, ES_ERR_INVALID,
               SITE_FORMAT "has %llu bytes at byte %llu, past the end of the %s (%llu bytes)",
               SITE(site), ES_U(arg->size), ES_U(arg->offset), name, ES_U(space_bytes));
    return check_content(arg, spaces->weights, site, error);
}
