#include "indices.h"

#include <string.h>

#include "edgesparse.h"

/* An array, and the words that name it in messages. */
typedef struct array {
    es_file_array facts;
    size_t number;
    const uint8_t *data;
    size_t element_bytes;
    uint64_t count;
} array;

#define SITE "index array %llu "

static int64_t at(const array *of, uint64_t element)
{
    const uint8_t *const from = of->data + element * of->element_bytes;
    if (of->element_bytes == sizeof(uint16_t)) {
        uint16_t value;
        memcpy(&value, from, sizeof value);
        return value;
    }
    if (of->element_bytes == sizeof(int32_t)) {
        int32_t value;
        memcpy(&value, from, sizeof value);
        return value;
    }
    int64_t value;
    memcpy(&value, from, sizeof value);
    return value;
}

static es_status check_indptr(const array *of, es_error *error)
{
    ES_REQUIRE(of->count > 0 && at(of, 0) == 0, error, ES_ERR_INVALID,
               SITE "has row pointers that do not start at 0", ES_U(of->number));
    int64_t previous = 0;
    for (uint64_t i = 0; i < of->count; i++) {
        const int64_t value = at(of, i);
        ES_REQUIRE(value >= previous, error, ES_ERR_INVALID,
                   SITE "has row pointers that fall at element %llu", ES_U(of->number), ES_U(i));
        previous = value;
    }
    ES_REQUIRE((uint64_t)previous == of->facts.limit, error, ES_ERR_INVALID,
               SITE "has row pointers that end at %lld, expected %llu", ES_U(of->number),
               ES_I(previous), ES_U(of->facts.limit));
    ES_REQUIRE(of->facts.part < of->count &&
                   (uint64_t)at(of, of->facts.part) == of->facts.part_limit,
               error, ES_ERR_INVALID, SITE "has a row pointer %llu that is not %llu",
               ES_U(of->number), ES_U(of->facts.part), ES_U(of->facts.part_limit));
    return ES_OK;
}

/* Elements [begin, end) are at least `lowest` and below `limit`. */
static es_status check_range(const array *of, uint64_t begin, uint64_t end, uint64_t limit,
                             es_error *error)
{
    for (uint64_t i = begin; i < end; i++) {
        const int64_t value = at(of, i);
        ES_REQUIRE(value >= of->facts.lowest && (value < 0 || (uint64_t)value < limit), error,
                   ES_ERR_INVALID,
                   SITE "has index %lld at element %llu, expected %lld or more and less than %llu",
                   ES_U(of->number), ES_I(value), ES_U(i), ES_I(of->facts.lowest), ES_U(limit));
    }
    return ES_OK;
}

static es_status check_index(const array *of, es_error *error)
{
    const es_file_array *const facts = &of->facts;
    ES_REQUIRE(facts->part <= of->count, error, ES_ERR_INVALID,
               SITE "has %llu elements, its second part is from %llu", ES_U(of->number),
               ES_U(of->count), ES_U(facts->part));
    const bool cut = facts->part_limit != 0;
    const uint64_t end = cut ? facts->part : of->count;
    ES_TRY(check_range(of, 0, end, facts->limit, error));
    const uint64_t least = facts->part_limit < facts->limit ? facts->part_limit : facts->limit;
    return check_range(of, end, of->count, least, error);
}

static es_status check_order(const array *of, es_error *error)
{
    const es_file_array *const facts = &of->facts;
    ES_REQUIRE(facts->part > 0 && facts->part_limit == 0, error, ES_ERR_INVALID,
               SITE "is cut into parts of %llu elements", ES_U(of->number), ES_U(facts->part));
    uint64_t place = 0; /* i % limit */
    uint64_t begin = 0; /* of its part */
    for (uint64_t i = 0; i < of->count; i++) {
        const int64_t value = at(of, i);
        ES_REQUIRE(value >= 0 && (uint64_t)value < facts->limit, error, ES_ERR_INVALID,
                   SITE "has index %lld at element %llu, expected 0 or more and less than %llu",
                   ES_U(of->number), ES_I(value), ES_U(i), ES_U(facts->limit));
        ES_REQUIRE((uint64_t)value >= begin && (uint64_t)value - begin < facts->part, error,
                   ES_ERR_INVALID, SITE "has an index of another part at element %llu",
                   ES_U(of->number), ES_U(i));
        place++;
        if (place == facts->limit) {
            place = begin = 0;
        } else if (place - begin == facts->part) {
            begin = place;
        }
    }
    return ES_OK;
}

static es_status check_content(const array *of, es_error *error)
{
    switch (of->facts.kind) {
    case ES_INDPTR:
        return check_indptr(of, error);
    case ES_INDEX:
        return check_index(of, error);
    case ES_ORDER:
        return check_order(of, error);
    default:
        return es_fail(error, ES_ERR_UNSUPPORTED,
                       SITE "is of the unknown kind %llu; install a newer runtime",
                       ES_U(of->number), ES_U(of->facts.kind));
    }
}

/* The bytes of an element, or 0 where no array of that kind holds such elements. */
static size_t element_bytes(const es_file_array *facts)
{
    switch (facts->dtype) {
    case ES_INT32:
        return sizeof(int32_t);
    case ES_UINT16:
        return facts->kind == ES_INDPTR ? 0 : sizeof(uint16_t);
    case ES_INT64:
        return facts->kind == ES_INDEX ? sizeof(int64_t) : 0;
    default:
        return 0;
    }
}

/* Checks one array; `*end` is where the one before it ended. */
static es_status check_array(array *of, es_bytes section, uint64_t *end, es_error *error)
{
    const es_file_array *const facts = &of->facts;
    of->element_bytes = element_bytes(facts);
    ES_REQUIRE(of->element_bytes > 0, error, ES_ERR_UNSUPPORTED,
               SITE "has kind %llu of element type %llu, which is unknown; install a newer runtime",
               ES_U(of->number), ES_U(facts->kind), ES_U(facts->dtype));
    ES_REQUIRE(facts->offset % ES_DATA_ALIGN == 0 && facts->offset >= *end, error, ES_ERR_INVALID,
               SITE "starts at byte %llu, expected a multiple of %llu from %llu on",
               ES_U(of->number), ES_U(facts->offset), ES_U(ES_DATA_ALIGN), ES_U(*end));
    ES_REQUIRE(es_range_fits(facts->offset, facts->size, section.size), error, ES_ERR_INVALID,
               SITE "has %llu bytes at byte %llu, past the end of the indices (%llu bytes)",
               ES_U(of->number), ES_U(facts->size), ES_U(facts->offset), ES_U(section.size));
    ES_REQUIRE(facts->size % of->element_bytes == 0, error, ES_ERR_INVALID,
               SITE "has %llu bytes, expected a multiple of %llu", ES_U(of->number),
               ES_U(facts->size), ES_U(of->element_bytes));
    ES_REQUIRE(facts->limit <= INT64_MAX && facts->part <= INT64_MAX &&
                   facts->part_limit <= INT64_MAX &&
                   (facts->lowest == 0 || facts->kind == ES_INDEX) &&
                   es_is_zero(facts->reserved, sizeof facts->reserved),
               error, ES_ERR_INVALID, SITE "has a limit or a reserved byte out of range",
               ES_U(of->number));
    of->data = section.data + facts->offset;
    of->count = facts->size / of->element_bytes;
    *end = facts->offset + facts->size;
    return check_content(of, error);
}

es_status es_indices_check(const uint8_t *table, size_t count, es_bytes section, es_error *error)
{
    uint64_t end = 0;
    for (size_t i = 0; i < count; i++) {
        array found = {.number = i};
        memcpy(&found.facts, table + i * sizeof found.facts, sizeof found.facts);
        ES_TRY(check_array(&found, section, &end, error));
    }
    return ES_OK;
}
