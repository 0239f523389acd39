/* JSON, as far as requests and answers of --serve need it. */
#ifndef JSON_H
#define JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { JSON_MAX_FIELDS = 16 };

/* A field of a request: a text, a number, or a list of numbers. */
typedef struct json_field {
    const char *name;
    const char *text;       /* NULL if it is none */
    const uint64_t *numbers; /* of a number, one */
    size_t count;
    bool is_list;
} json_field;

/* An object whose texts and numbers lie in the line that it was read from, and in `numbers`. */
typedef struct json_object {
    json_field fields[JSON_MAX_FIELDS];
    size_t count;
} json_object;

/* Reads one line with an object of texts, natural numbers and lists of them.
 * line: NUL-terminated; is changed, and must live as long as `object`.
 * numbers: room for `room` numbers, which the object keeps.
 * Returns NULL, or what is wrong with the line. */
const char *json_read(char *line, uint64_t *numbers, size_t room, json_object *object);

/* A field of the object, of any kind; NULL if it has none of that name. */
const json_field *json_field_of(const json_object *object, const char *name);

/* A field of the object; NULL if it has none of that name and kind. */
const char *json_text(const json_object *object, const char *name);
const json_field *json_list(const json_object *object, const char *name);

/* A number of the object, or `otherwise` if it has none of that name. */
uint64_t json_number(const json_object *object, const char *name, uint64_t otherwise);

/* Prints a text with its quotation marks; it is UTF-8 already. */
void json_print_text(const char *text);

#endif
