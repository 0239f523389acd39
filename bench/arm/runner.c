/* Runs one kernel in a memory image that lies at a fixed address: the same addresses, and so the same cache misses,
 * every time.
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

typedef void kernel(void *const *arguments, int32_t begin, int32_t end);

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
    ((kernel *)(base + strtoull(argv[3], NULL, 0)))((void *const *)(base + strtoull(argv[4], NULL, 0)), 0,
                                                    atoi(argv[5]));
    FILE *const out = fopen(argv[8], "wb");
    const size_t size = strtoull(argv[7], NULL, 0);
    if (!out || fwrite(base + strtoull(argv[6], NULL, 0), 1, size, out) != size || fclose(out)) return 5;
    return 0;
}
