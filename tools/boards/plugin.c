/* QEMU plugin: what the instructions of an address range do, exactly.
 *
 * Counts how often each instruction runs, and feeds its loads and stores to two levels of LRU cache.
 * Options: begin=ADDRESS,end=ADDRESS,l1=BYTES,l1ways=N,l2=BYTES,l2ways=N,out=FILE
 * Writes a line for each instruction: address, times run, L1 misses, L2 misses, disassembly.
 * No prefetcher is modelled, caches are indexed by virtual address, and stores allocate.
 *
 * The declarations are QEMU's plugin API, version 1, as far as it is used here.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))
#define LINE_BYTES 64

struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum { INLINE_ADD_U64 = 0, NO_REGISTERS = 0, MEMORY_READ_WRITE = 3 };

extern void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id, void (*)(uint64_t id, struct qemu_plugin_tb *));
extern void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, int op, void *counter, uint64_t step);
extern void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *,
                                             void (*)(unsigned cpu, uint32_t info, uint64_t address, void *data),
                                             int flags, int direction, void *data);
extern void qemu_plugin_register_atexit_cb(uint64_t id, void (*)(uint64_t id, void *data), void *data);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
extern uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *);
extern char *qemu_plugin_insn_disas(const struct qemu_plugin_insn *);

EXPORT int qemu_plugin_version = 1;

typedef struct {
    uint64_t address, l1_misses, l2_misses;
    char *text;
} instruction;

typedef struct block {
    struct block *next;
    uint64_t runs;
    size_t count;
    instruction code[];
} block;

typedef struct {
    uint64_t sets, ways, clock;
    uint64_t *lines, *used; /* [sets][ways]: line number + 1, and when it was used last */
} cache;

static uint64_t range_begin, range_end;
static char out_path[4096];
static cache l1, l2;
static block *blocks;

/* 1 if the line was there; if not, it replaces the one that was used longest ago. */
static int cache_hit(cache *c, uint64_t line)
{
    uint64_t *const lines = c->lines + line % c->sets * c->ways;
    uint64_t *const used = c->used + line % c->sets * c->ways;
    size_t oldest = 0;
    for (size_t way = 0; way < c->ways; way++) {
        if (lines[way] == line + 1) {
            used[way] = ++c->clock;
            return 1;
        }
        if (used[way] < used[oldest]) oldest = way;
    }
    lines[oldest] = line + 1;
    used[oldest] = ++c->clock;
    return 0;
}

static void on_access(unsigned cpu, uint32_t info, uint64_t address, void *data)
{
    instruction *const by = data;
    (void)cpu;
    (void)info;
    if (cache_hit(&l1, address / LINE_BYTES)) return;
    by->l1_misses++;
    if (!cache_hit(&l2, address / LINE_BYTES)) by->l2_misses++;
}

static void on_translation(uint64_t id, struct qemu_plugin_tb *tb)
{
    const size_t count = qemu_plugin_tb_n_insns(tb);
    const uint64_t first = qemu_plugin_insn_vaddr(qemu_plugin_tb_get_insn(tb, 0));
    (void)id;
    if (first < range_begin || first >= range_end) return;
    block *const made = calloc(1, sizeof *made + count * sizeof *made->code);
    if (!made) abort();
    made->count = count;
    made->next = blocks;
    blocks = made;
    for (size_t i = 0; i < count; i++) {
        struct qemu_plugin_insn *const insn = qemu_plugin_tb_get_insn(tb, i);
        made->code[i].address = qemu_plugin_insn_vaddr(insn);
        made->code[i].text = qemu_plugin_insn_disas(insn);
        qemu_plugin_register_vcpu_mem_cb(insn, on_access, NO_REGISTERS, MEMORY_READ_WRITE, &made->code[i]);
    }
    qemu_plugin_register_vcpu_tb_exec_inline(tb, INLINE_ADD_U64, &made->runs, 1);
}

static void at_exit(uint64_t id, void *data)
{
    FILE *const out = fopen(out_path, "w");
    (void)id;
    (void)data;
    if (!out) abort();
    for (const block *b = blocks; b; b = b->next)
        for (const instruction *i = b->code; i < b->code + b->count; i++)
            fprintf(out, "%" PRIx64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %s\n", i->address, b->runs, i->l1_misses,
                    i->l2_misses, i->text);
    if (fclose(out)) abort();
}

static void cache_init(cache *c, uint64_t bytes, uint64_t ways)
{
    const uint64_t lines = bytes / LINE_BYTES;
    *c = (cache){.sets = lines / ways, .ways = ways};
    c->lines = calloc(lines, sizeof *c->lines);
    c->used = calloc(lines, sizeof *c->used);
    if (!c->lines || !c->used || !c->sets) abort();
}

EXPORT int qemu_plugin_install(uint64_t id, const void *info, int argc, char **argv)
{
    uint64_t l1_bytes = 0, l1_ways = 0, l2_bytes = 0, l2_ways = 0;
    const struct {
        const char *name;
        uint64_t *value;
    } options[] = {{"begin=", &range_begin}, {"end=", &range_end},  {"l1=", &l1_bytes},
                   {"l1ways=", &l1_ways},    {"l2=", &l2_bytes},    {"l2ways=", &l2_ways}};
    (void)info;
    for (int i = 0; i < argc; i++) {
        if (!strncmp(argv[i], "out=", 4)) snprintf(out_path, sizeof out_path, "%s", argv[i] + 4);
        for (size_t o = 0; o < sizeof options / sizeof *options; o++)
            if (!strncmp(argv[i], options[o].name, strlen(options[o].name)))
                *options[o].value = strtoull(argv[i] + strlen(options[o].name), NULL, 0);
    }
    if (!range_end || !l1_ways || !l2_ways || !out_path[0]) return -1;
    cache_init(&l1, l1_bytes, l1_ways);
    cache_init(&l2, l2_bytes, l2_ways);
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    qemu_plugin_register_atexit_cb(id, at_exit, NULL);
    return 0;
}
