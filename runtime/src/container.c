#include "container.h"

#include <string.h>

#include "sha256.h"

static const struct {
    const char *name;
    size_t max_bytes;
    bool required;
    bool always_hashed;
    bool many; /* there may be more than one */
} known_sections[ES_SECTION_KIND_END] = {
    [ES_SECTION_MANIFEST] = {"manifest", ES_MAX_MANIFEST_BYTES, false, true, false},
    [ES_SECTION_PLAN] = {"plan", ES_MAX_PLAN_BYTES, true, true, true},
    [ES_SECTION_CODE] = {"code", ES_MAX_CODE_BYTES, true, true, true},
    [ES_SECTION_WEIGHTS] = {"weights", SIZE_MAX, false, false, false},
    [ES_SECTION_REPORT] = {"report", SIZE_MAX, false, false, false},
    [ES_SECTION_INDICES] = {"indices", SIZE_MAX, false, true, false},
    [ES_SECTION_LABELS] = {"labels", ES_MAX_LABELS_BYTES, false, true, false},
    [ES_SECTION_ANSWERS] = {"answers", ES_MAX_ANSWERS_BYTES, false, true, false},
};

static bool is_known(uint32_t kind)
{
    return kind < ES_SECTION_KIND_END && known_sections[kind].name != NULL;
}

static const char *section_name(uint32_t kind)
{
    return is_known(kind) ? known_sections[kind].name : "unknown";
}

static bool digests_match(const uint8_t left[ES_SHA256_BYTES], const uint8_t right[ES_SHA256_BYTES])
{
#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
    (void)left, (void)right;
    return true;
#else
    return memcmp(left, right, ES_SHA256_BYTES) == 0;
#endif
}

static es_status read_preamble(es_bytes file, es_file_preamble *preamble, es_error *error)
{
    es_file_preamble found;
    ES_REQUIRE(file.size >= ES_MAGIC_BYTES, error, ES_ERR_TRUNCATED,
               "preamble: the file has %llu bytes, an artifact has %llu or more", ES_U(file.size),
               ES_U(sizeof found));
    ES_REQUIRE(memcmp(file.data, ES_MAGIC, ES_MAGIC_BYTES) == 0, error, ES_ERR_BAD_MAGIC,
               "preamble: the file does not start as an edgesparse artifact does");
    ES_REQUIRE(file.size >= sizeof found, error, ES_ERR_TRUNCATED,
               "preamble: the file has %llu bytes, an artifact has %llu or more", ES_U(file.size),
               ES_U(sizeof found));
    memcpy(&found, file.data, sizeof found);
    ES_REQUIRE(found.major == ES_FORMAT_MAJOR, error, ES_ERR_VERSION,
               "preamble: the artifact has version %llu.%llu, this runtime reads %llu.x; %s",
               ES_U(found.major), ES_U(found.minor), ES_U(ES_FORMAT_MAJOR),
               found.major < ES_FORMAT_MAJOR ? "compile the model again" : "install a newer runtime");
    ES_REQUIRE(found.file_bytes <= file.size, error, ES_ERR_TRUNCATED,
               "preamble: the file has %llu bytes, the artifact has %llu; copy it again",
               ES_U(file.size), ES_U(found.file_bytes));
    ES_REQUIRE(found.file_bytes == file.size, error, ES_ERR_INVALID,
               "preamble: the file has %llu bytes, the artifact has only %llu", ES_U(file.size),
               ES_U(found.file_bytes));
    ES_REQUIRE(found.section_count <= ES_MAX_SECTIONS, error, ES_ERR_LIMIT,
               "preamble: %llu sections, at most %llu are allowed", ES_U(found.section_count),
               ES_U(ES_MAX_SECTIONS));
    ES_REQUIRE(es_is_zero(found.reserved, sizeof found.reserved), error, ES_ERR_INVALID,
               "preamble: a reserved byte is not zero");
    *preamble = found;
    return ES_OK;
}

static es_status check_table_digest(es_bytes file, const es_file_preamble *preamble,
                                    size_t table_bytes, es_error *error)
{
    uint8_t digest[ES_SHA256_BYTES];
    es_sha256 hash;
    es_sha256_start(&hash);
    es_sha256_add(&hash, file.data, ES_PREAMBLE_HASHED_BYTES);
    es_sha256_add(&hash, file.data + sizeof *preamble, table_bytes);
    es_sha256_finish(&hash, digest);
    ES_REQUIRE(digests_match(digest, preamble->sha256), error, ES_ERR_CORRUPT,
               "section table: the checksum does not match; the file is damaged, copy it again");
    return ES_OK;
}

/* Checks where a section lies; `*end` is where the one before it ended. */
static es_status check_extent(const es_file_section *section, uint64_t file_bytes, uint64_t *end,
                              es_error *error)
{
    const char *const name = section_name(section->kind);
    ES_REQUIRE(section->offset % ES_SECTION_ALIGN == 0, error, ES_ERR_INVALID,
               "%s section: starts at byte %llu, which is not a multiple of %llu", name,
               ES_U(section->offset), ES_U(ES_SECTION_ALIGN));
    ES_REQUIRE(section->offset >= *end, error, ES_ERR_INVALID,
               "%s section: starts at byte %llu, before the end of what precedes it (%llu)", name,
               ES_U(section->offset), ES_U(*end));
    ES_REQUIRE(es_range_fits(section->offset, section->size, file_bytes), error, ES_ERR_INVALID,
               "%s section: %llu bytes at %llu reach past the end of the file (%llu bytes)", name,
               ES_U(section->size), ES_U(section->offset), ES_U(file_bytes));
    ES_REQUIRE(es_is_zero(section->reserved, sizeof section->reserved), error, ES_ERR_INVALID,
               "%s section: a reserved byte is not zero", name);
    *end = section->offset + section->size;
    return ES_OK;
}

static es_status check_content(const es_file_section *section, es_bytes content, uint32_t flags,
                               es_error *error)
{
    const char *const name = section_name(section->kind);
    ES_REQUIRE(is_known(section->kind) || (section->flags & ES_SECTION_REQUIRED) == 0, error,
               ES_ERR_UNSUPPORTED,
               "section table: section kind %llu is required and unknown; install a newer runtime",
               ES_U(section->kind));
    if (is_known(section->kind)) {
        const size_t max_bytes = known_sections[section->kind].max_bytes;
        ES_REQUIRE(content.size <= max_bytes, error, ES_ERR_LIMIT,
                   "%s section: %llu bytes, at most %llu are allowed", name, ES_U(content.size),
                   ES_U(max_bytes));
    }
    const bool hashed = is_known(section->kind) && known_sections[section->kind].always_hashed;
    if (!hashed && (flags & ES_OPEN_VERIFY_WEIGHTS) == 0) {
        return ES_OK;
    }
    uint8_t digest[ES_SHA256_BYTES];
    es_sha256 hash;
    es_sha256_start(&hash);
    es_sha256_add(&hash, content.data, content.size);
    es_sha256_finish(&hash, digest);
    ES_REQUIRE(digests_match(digest, section->sha256), error, ES_ERR_CORRUPT,
               "%s section: the checksum does not match; the file is damaged, copy it again", name);
    return ES_OK;
}

es_status es_container_read(es_bytes file, uint32_t flags, es_container *container, es_error *error)
{
    es_file_preamble preamble;
    ES_TRY(read_preamble(file, &preamble, error));
    const size_t table_bytes = preamble.section_count * sizeof(es_file_section);
    ES_REQUIRE(es_range_fits(sizeof preamble, table_bytes, file.size), error, ES_ERR_TRUNCATED,
               "section table: %llu sections do not fit the file (%llu bytes)",
               ES_U(preamble.section_count), ES_U(file.size));
    ES_TRY(check_table_digest(file, &preamble, table_bytes, error));

    es_container found = {.minor = preamble.minor, .section_count = preamble.section_count};
    uint32_t seen = 0;   /* a bit for each kind */
    uint32_t filled = 0; /* of these, the ones that are not empty */
    uint64_t end = sizeof preamble + table_bytes;
    for (uint32_t i = 0; i < preamble.section_count; i++) {
        es_file_section section;
        memcpy(&section, file.data + sizeof preamble + i * sizeof section, sizeof section);
        ES_TRY(check_extent(&section, preamble.file_bytes, &end, error));
        const es_bytes content = {file.data + section.offset, (size_t)section.size};
        ES_TRY(check_content(&section, content, flags, error));
        found.sections[i] = (es_section){.kind = section.kind, .content = content};
        if (is_known(section.kind)) {
            const uint32_t bit = (uint32_t)1 << section.kind;
            ES_REQUIRE((seen & bit) == 0 || known_sections[section.kind].many, error,
                       ES_ERR_INVALID, "section table: two %s sections",
                       section_name(section.kind));
            seen |= bit;
            filled |= content.size > 0 ? bit : 0;
        }
    }
    for (uint32_t kind = 0; kind < ES_SECTION_KIND_END; kind++) {
        ES_REQUIRE(!known_sections[kind].required || (filled >> kind & 1) != 0, error,
                   ES_ERR_INVALID, "section table: the %s section is missing or empty",
                   section_name(kind));
    }
    ES_REQUIRE(end == preamble.file_bytes, error, ES_ERR_INVALID,
               "section table: the last section ends at byte %llu, the file at %llu", ES_U(end),
               ES_U(preamble.file_bytes));
    *container = found;
    return ES_OK;
}

es_bytes es_container_find(const es_container *container, es_section_kind kind)
{
    for (uint32_t i = 0; i < container->section_count; i++) {
        if (container->sections[i].kind == (uint32_t)kind) {
            return container->sections[i].content;
        }
    }
    return (es_bytes){.data = container->sections[0].content.data, .size = 0};
}
