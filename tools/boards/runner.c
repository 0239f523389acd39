/* Runs one kernel in a memory image that lies at a fixed address, its stack at the end of the image: the same addresses,
 * and so the same cache misses, every time.
 *
 * Arguments: IMAGE BASE ENTRY ARGUMENTS TILES OFFSET SIZE OUTPUT. ENTRY, ARGUMENTS (the array of pointers) and the
 * OFFSET of the result count bytes from BASE; the SIZE bytes of the result are written to OUTPUT.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

typedef int32_t kernel(void *const *arguments, int32_t begin, int32_t end, int64_t *fault);

/* Calls the kernel on a stack that ends at `top`. */
static void call_on(char *top, kernel *code, void *const *arguments, int32_t tiles)
{
    register void *const *first __asm__("x0") = arguments;
    int64_t record[8];
    register int64_t begin __asm__("x1") = 0, end __asm__("x2") = tiles;
    register int64_t *fault __asm__("x3") = record;
    register kernel *to __asm__("x20") = code;
    __asm__ volatile("mov x19, sp\n\tmov sp, %[top]\n\tblr %[to]\n\tmov sp, x19"
                     : "+r"(first), "+r"(begin), "+r"(end), "+r"(fault)
                     : [top] "r"(top), [to] "r"(to)
                     : "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15", "x16", "x17",
                       "x18", "x19", "x30", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11",
                       "v12", "v13", "v14", "v15", "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v24", "v25",
                       "v26", "v27", "v28", "v29", "v30", "v31", "cc", "memory");
}

int main(int argc, char **argv)
{
    if (argc != 9) return 2;
    char *const base = (char *)strtoull(argv[2], NULL, 0);
    const int file = open(argv[1], O_RDONLY);
    struct stat facts;
    if (file < 0 || fstat(file, &facts)) return 3;
    char *const at = mmap(base, (size_t)facts.st_size, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_FIXED,
                          file, 0);
    if (at != base) return 4;
    kernel *const code = (kernel *)(base + strtoull(argv[3], NULL, 0));
    call_on(base + facts.st_size, code, (void *const *)(base + strtoull(argv[4], NULL, 0)), atoi(argv[5]));
    FILE *const out = fopen(argv[8], "wb");
    const size_t size = strtoull(argv[7], NULL, 0);
    if (!out || fwrite(base + strtoull(argv[6], NULL, 0), 1, size, out) != size || fclose(out)) return 5;
    return 0;
}
