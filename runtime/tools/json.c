#include "json.h"

#include <stdio.h>
#include <string.h>

typedef struct reader {
    char *at;
    uint64_t *numbers; /* where the next goes */
    size_t room;
} reader;

static const char malformed[] = "is not a JSON object of texts, natural numbers and lists of them";

static void skip_blanks(reader *from)
{
    from->at += strspn(from->at, " \t\r\n");
}

static bool take(reader *from, char sign)
{
    skip_blanks(from);
    if (*from->at != sign) {
        return false;
    }
    from->at++;
    return true;
}

/* The value of a hexadecimal digit, or -1. */
static int digit_of(char sign)
{
    static const char digits[] = "0123456789abcdef";
    const char lower = sign >= 'A' && sign <= 'F' ? (char)(sign - 'A' + 'a') : sign;
    const char *const found = lower != '\0' ? strchr(digits, lower) : NULL;
    return found != NULL ? (int)(found - digits) : -1;
}

/* Writes a character as UTF-8, and moves the end of the text; it takes less than `\\uXXXX` did. */
static void put_character(unsigned code, char **to)
{
    if (code < 0x80) {
        *(*to)++ = (char)code;
        return;
    }
    if (code < 0x800) {
        *(*to)++ = (char)(0xC0 | code >> 6);
    } else {
        *(*to)++ = (char)(0xE0 | code >> 12);
        *(*to)++ = (char)(0x80 | (code >> 6 & 0x3F));
    }
    *(*to)++ = (char)(0x80 | (code & 0x3F));
}

/* Reads what follows a backslash to `to`, whose end it moves; half characters are none. */
static bool unescape(reader *from, char **to)
{
    static const char marks[] = "\"\\/bfnrt";
    static const char meant[] = "\"\\/\b\f\n\r\t";
    const char sign = *from->at++;
    if (sign == 'u') {
        unsigned code = 0;
        for (int i = 0; i < 4; i++) {
            const int digit = digit_of(*from->at);
            if (digit < 0) {
                return false;
            }
            code = code * 16 + (unsigned)digit;
            from->at++;
        }
        put_character(code, to);
        return code > 0 && (code < 0xD800 || code > 0xDFFF);
    }
    const char *const found = sign != '\0' ? strchr(marks, sign) : NULL;
    if (found == NULL) {
        return false;
    }
    *(*to)++ = meant[found - marks];
    return true;
}

/* Reads a text in place; NULL if there is none. */
static const char *read_text(reader *from)
{
    if (!take(from, '"')) {
        return NULL;
    }
    char *const text = from->at;
    char *to = text;
    while (*from->at != '"') {
        if ((unsigned char)*from->at < 0x20) {
            return NULL; /* the end of the line, too */
        }
        const char sign = *from->at++;
        if (sign != '\\') {
            *to++ = sign;
        } else if (!unescape(from, &to)) {
            return NULL;
        }
    }
    from->at++;
    *to = '\0';
    return text;
}

static bool read_number(reader *from)
{
    skip_blanks(from);
    uint64_t number = 0;
    const char *const start = from->at;
    while (*from->at >= '0' && *from->at <= '9') {
        const uint64_t digit = (uint64_t)(*from->at++ - '0');
        if (__builtin_mul_overflow(number, 10u, &number) ||
            __builtin_add_overflow(number, digit, &number)) {
            return false;
        }
    }
    if (from->at == start || from->room == 0) {
        return false;
    }
    *from->numbers++ = number;
    from->room--;
    return true;
}

static bool read_list(reader *from)
{
    if (take(from, ']')) {
        return true;
    }
    while (read_number(from)) {
        if (take(from, ']')) {
            return true;
        }
        if (!take(from, ',')) {
            return false;
        }
    }
    return false;
}

static bool read_value(reader *from, json_field *field)
{
    skip_blanks(from);
    if (*from->at == '"') {
        field->text = read_text(from);
        return field->text != NULL;
    }
    field->numbers = from->numbers;
    field->is_list = take(from, '[');
    const bool fits = field->is_list ? read_list(from) : read_number(from);
    field->count = (size_t)(from->numbers - field->numbers);
    return fits;
}

static bool read_field(reader *from, json_field *field)
{
    *field = (json_field){.name = read_text(from)};
    return field->name != NULL && take(from, ':') && read_value(from, field);
}

const char *json_read(char *line, uint64_t *numbers, size_t room, json_object *object)
{
    reader from = {.at = line, .numbers = numbers, .room = room};
    object->count = 0;
    if (!take(&from, '{')) {
        return malformed;
    }
    bool more = !take(&from, '}');
    while (more) {
        if (object->count == JSON_MAX_FIELDS) {
            return "has too many fields";
        }
        if (!read_field(&from, &object->fields[object->count++])) {
            return malformed;
        }
        more = take(&from, ',');
        if (!more && !take(&from, '}')) {
            return malformed;
        }
    }
    skip_blanks(&from);
    return *from.at == '\0' ? NULL : malformed;
}

const json_field *json_field_of(const json_object *object, const char *name)
{
    for (size_t i = 0; i < object->count; i++) {
        if (strcmp(object->fields[i].name, name) == 0) {
            return &object->fields[i];
        }
    }
    return NULL;
}

const char *json_text(const json_object *object, const char *name)
{
    const json_field *const field = json_field_of(object, name);
    return field != NULL ? field->text : NULL;
}

const json_field *json_list(const json_object *object, const char *name)
{
    const json_field *const field = json_field_of(object, name);
    return field != NULL && field->is_list ? field : NULL;
}

uint64_t json_number(const json_object *object, const char *name, uint64_t otherwise)
{
    const json_field *const field = json_field_of(object, name);
    return field != NULL && field->count == 1 && !field->is_list ? field->numbers[0] : otherwise;
}

void json_print_text(const char *text)
{
    putchar('"');
    for (; *text != '\0'; text++) {
        const unsigned char byte = (unsigned char)*text;
        if (byte == '"' || byte == '\\') {
            printf("\\%c", byte);
        } else if (byte < 0x20) {
            printf("\\u%04x", byte);
        } else {
            putchar(byte);
        }
    }
    putchar('"');
}
