#include "utf8.h"

/* Bytes that a character with this first byte has, or 0 if no character starts so. */
static size_t character_size(uint8_t first)
{
    if (first < 0x80) {
        return first != 0 ? 1 : 0;
    }
    if (first < 0xC2 || first > 0xF4) {
        return 0;
    }
    return first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
}

static bool is_second(uint8_t first, uint8_t second)
{
    const uint8_t low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
    const uint8_t high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
    return low <= second && second <= high;
}

bool es_utf8_is_text(const uint8_t *bytes, size_t size)
{
    for (size_t at = 0; at < size;) {
        const size_t count = character_size(bytes[at]);
        if (count == 0 || count > size - at) {
            return false;
        }
        if (count > 1 && !is_second(bytes[at], bytes[at + 1])) {
            return false;
        }
        for (size_t i = 2; i < count; i++) {
            if ((bytes[at + i] & 0xC0) != 0x80) {
                return false;
            }
        }
        at += count;
    }
    return true;
}
