/* model.esp as it is stored: see edgesparse/package/FORMAT.md. Little-endian, no padding. */
#ifndef ES_FORMAT_H
#define ES_FORMAT_H

#include <stdint.h>

#define ES_MAGIC "\x89" "ESP\r\n\x1a\n"

enum {
    ES_FORMAT_MAJOR = 2,
    ES_FORMAT_MINOR = 1,
    ES_MAGIC_BYTES = 8,
    ES_SHA256_BYTES = 32,
    ES_SECTION_ALIGN = 16384, /* the largest page size of the systems that map artifacts */
    ES_DATA_ALIGN = 64,
    ES_SECTION_REQUIRED = 1 /* section flag: a reader that does not know the kind must refuse */
};

/* Hard limits; a file beyond one is refused with ES_ERR_LIMIT. */
enum {
    ES_MAX_SECTIONS = 64,
    ES_MAX_MANIFEST_BYTES = 1 << 20,
    ES_MAX_PLAN_BYTES = 1 << 24,
    ES_MAX_CODE_BYTES = 1 << 26,
    ES_MAX_SCRATCH_BYTES = 1 << 26,
    ES_MAX_TENSORS = 4096, /* inputs, and as many outputs */
    ES_MAX_STEPS = 1 << 16,
    ES_MAX_STEP_ARGS = 64,
    ES_MAX_ARRAYS = 1 << 15,
    ES_MAX_STRINGS = 1 << 18,
    ES_MAX_STRING_BYTES = 1 << 14,
    ES_MAX_LABELS_BYTES = 1 << 20,
    ES_MAX_LABEL_BYTES = 1 << 10,
    ES_MAX_ANSWERS_BYTES = 1 << 20
};
#define ES_MAX_ARENA_BYTES ((uint64_t)1 << 34)

typedef enum es_section_kind {
    ES_SECTION_MANIFEST = 1,
    ES_SECTION_PLAN = 2,
    ES_SECTION_CODE = 3,
    ES_SECTION_WEIGHTS = 4,
    ES_SECTION_REPORT = 5,
    ES_SECTION_INDICES = 6,
    ES_SECTION_LABELS = 7,
    ES_SECTION_ANSWERS = 9,
    ES_SECTION_KIND_END
} es_section_kind;

/* X(name, value) */
#define ES_ISA_LIST(X) \
    X(x86_64, 1)       \
    X(aarch64, 2)      \
    X(armv7, 3)

/* X(name, bit) */
#define ES_CPU_FEATURE_LIST(X) \
    X(avx2, 0)                 \
    X(fma, 1)                  \
    X(f16c, 2)                 \
    X(avx512f, 3)              \
    X(avx512bw, 4)             \
    X(avx512dq, 5)             \
    X(avx512vl, 6)             \
    X(avx512vnni, 7)           \
    X(avxvnni, 8)              \
    X(neon, 32)                \
    X(dotprod, 33)             \
    X(fp16, 34)                \
    X(vfp4, 35)

#define ES_ENUM_ISA(name, value) ES_ISA_##name = value,
typedef enum es_isa { ES_ISA_LIST(ES_ENUM_ISA) } es_isa;
#undef ES_ENUM_ISA

#define ES_CPU(name) ((uint64_t)1 << ES_CPU_BIT_##name)
#define ES_ENUM_CPU_BIT(name, bit) ES_CPU_BIT_##name = bit,
enum { ES_CPU_FEATURE_LIST(ES_ENUM_CPU_BIT) };
#undef ES_ENUM_CPU_BIT

typedef enum es_space {
    ES_SPACE_ARENA = 0,
    ES_SPACE_WEIGHTS = 1,
    ES_SPACE_SCRATCH = 2,
    ES_SPACE_INDICES = 3,
    ES_SPACE_END
} es_space;

/* What is proved about an array of indices. */
typedef enum es_index_kind {
    ES_INDPTR = 1,
    ES_INDEX = 2,
    ES_ORDER = 3
} es_index_kind;

/* What runs steps. */
typedef enum es_engine_id { ES_ENGINE_CPU = 0, ES_ENGINE_END } es_engine_id;

/* The only kind of step that this runtime knows. */
enum { ES_STEP_CALL = 0 };

typedef struct es_file_preamble {
    uint8_t magic[ES_MAGIC_BYTES];
    uint16_t major;
    uint16_t minor;
    uint32_t section_count;
    uint64_t file_bytes;
    uint8_t reserved[8];
    uint8_t sha256[ES_SHA256_BYTES];
} es_file_preamble;
enum { ES_PREAMBLE_HASHED_BYTES = 32 };

typedef struct es_file_section {
    uint32_t kind;
    uint32_t flags;
    uint64_t offset;
    uint64_t size;
    uint8_t reserved[8];
    uint8_t sha256[ES_SHA256_BYTES];
} es_file_section;

/* What a plan counts; the tables follow its header in this order. */
typedef struct es_file_plan {
    uint32_t engine_count;
    uint32_t image_count;
    uint32_t input_count;
    uint32_t output_count;
    uint32_t step_count;
    uint32_t arg_count;
    uint32_t array_count;
    uint32_t string_count;
    uint32_t string_bytes;
    uint8_t reserved[92];
} es_file_plan;

typedef struct es_file_engine {
    uint32_t kind;
    uint32_t reserved0;
    uint64_t arena_bytes;
    uint64_t scratch_bytes;
    uint8_t reserved1[40];
} es_file_engine;

typedef struct es_file_image {
    uint32_t engine;
    uint32_t isa;
    uint64_t features;
    uint32_t section;
    uint32_t core; /* the one that it was tuned for, as es_cpu_core tells it; 0: any */
    uint8_t reserved[40];
} es_file_image;

/* Names are numbers of strings. */
typedef struct es_file_tensor {
    uint32_t name;
    uint32_t dtype;
    uint32_t rank;
    uint32_t engine;
    uint64_t offset;
    uint64_t size;
    uint32_t dims[8];
    uint32_t picture;
    uint8_t reserved[28];
} es_file_tensor;

typedef struct es_file_step {
    uint32_t name;
    uint32_t op;
    uint32_t kernel;
    uint32_t kind;
    uint32_t image;
    uint32_t tiles;
    uint32_t first_arg;
    uint32_t arg_count;
    uint64_t code_offset;
    uint8_t reserved[24];
} es_file_step;

typedef struct es_file_arg {
    uint32_t space;
    uint32_t array;
    uint64_t offset;
    uint64_t size;
    uint32_t name;
    uint8_t reserved[36];
} es_file_arg;

typedef struct es_file_array {
    uint32_t kind;
    uint32_t dtype;
    uint64_t offset;
    uint64_t size;
    int64_t lowest;
    uint64_t limit;
    uint64_t part;
    uint64_t part_limit;
    uint8_t reserved[8];
} es_file_array;

typedef enum es_fault_kind {
    ES_FAULT_INTEGER = 1,
    ES_FAULT_FLOAT = 2,
    ES_FAULT_DIVISOR = 3
} es_fault_kind;

/* What a kernel that fails says: which value it refuses, and why. */
typedef struct es_fault {
    int64_t kind;
    int64_t operand; /* number of the argument */
    int64_t element;
    int64_t found;   /* of ES_FAULT_FLOAT, this and the limits are the bits of a double */
    int64_t lowest;
    int64_t highest;
    int64_t reserved[2];
} es_fault;

_Static_assert(sizeof(es_file_preamble) == 64, "preamble");
_Static_assert(sizeof(es_file_section) == 64, "section");
_Static_assert(sizeof(es_file_plan) == 128, "plan");
_Static_assert(sizeof(es_file_engine) == 64, "engine");
_Static_assert(sizeof(es_file_image) == 64, "image");
_Static_assert(sizeof(es_file_tensor) == 96, "tensor");
_Static_assert(sizeof(es_file_step) == 64, "step");
_Static_assert(sizeof(es_file_arg) == 64, "arg");
_Static_assert(sizeof(es_file_array) == 64, "array");
_Static_assert(sizeof(es_fault) == 64, "fault");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "artifacts are read in place");

#endif
