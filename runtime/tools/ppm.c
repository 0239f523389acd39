#include "ppm.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fatal.h"

enum { MAX_HEADER_NUMBER = 1 << 16, WHITE = 255 };

/* Where the numbers of a pixel go. */
typedef struct frame {
    size_t width;
    size_t height;
    size_t channels;
    bool planes;
    bool blue_first;
} frame;

static frame frame_of(const char *path, const es_tensor_info *info)
{
    switch (info->picture) {
    case ES_GREY:
        return (frame){.width = info->dims[1], .height = info->dims[0], .channels = 1};
    case ES_RGB:
    case ES_BGR:
        return (frame){.width = info->dims[1],
                       .height = info->dims[0],
                       .channels = 3,
                       .blue_first = info->picture == ES_BGR};
    case ES_RGB_PLANES:
    case ES_BGR_PLANES:
        return (frame){.width = info->dims[2],
                       .height = info->dims[1],
                       .channels = 3,
                       .planes = true,
                       .blue_first = info->picture == ES_BGR_PLANES};
    case ES_NO_PICTURE:
        break;
    }
    fatal("%s: input '%s' takes no picture; compile the model with --preprocess %s=uint8", path,
          info->name, info->name);
}

static bool is_space(int byte)
{
    return byte == ' ' || (byte >= '\t' && byte <= '\r');
}

/* Reads a number and the one byte behind it; what is before it may be spaces and comments. */
static size_t read_number(FILE *file, const char *path)
{
    int byte = fgetc(file);
    for (bool comment = false; is_space(byte) || byte == '#' || (comment && byte != EOF);) {
        comment = byte == '#' || (comment && byte != '\n');
        byte = fgetc(file);
    }
    size_t number = 0;
    const bool starts = byte >= '0' && byte <= '9';
    for (; byte >= '0' && byte <= '9' && number <= MAX_HEADER_NUMBER; byte = fgetc(file)) {
        number = number * 10 + (size_t)(byte - '0');
    }
    if (!starts || number > MAX_HEADER_NUMBER || !is_space(byte)) {
        fatal("%s: is damaged: its header holds no width, height and maximum", path);
    }
    return number;
}

static void check_header(FILE *file, const char *path, const es_tensor_info *info,
                         const frame *wanted)
{
    char magic[2];
    if (fread(magic, 1, sizeof magic, file) != sizeof magic || magic[0] != 'P' ||
        (magic[1] != '5' && magic[1] != '6')) {
        fatal("%s: is not a picture of kind P6 or P5; make one: magick %s frame.ppm", path, path);
    }
    const char *const kind = wanted->channels == 1 ? "P5" : "P6";
    if (magic[1] != kind[1]) {
        fatal("%s: got P%c, expected %s, since input '%s' takes %s", path, magic[1], kind, info->name,
              wanted->channels == 1 ? "grey pictures" : "colours");
    }
    const size_t width = read_number(file, path);
    const size_t height = read_number(file, path);
    const size_t maximum = read_number(file, path);
    if (width != wanted->width || height != wanted->height) {
        fatal("%s: got %zux%zu pixels, expected %zux%zu, the frame of input '%s'; "
              "magick %s -resize %zux%zu! frame.ppm",
              path, width, height, wanted->width, wanted->height, info->name, path, wanted->width,
              wanted->height);
    }
    if (maximum != WHITE) {
        fatal("%s: got pixels from 0 to %zu, expected 0 to %d; magick %s -depth 8 frame.ppm", path,
              maximum, WHITE, path);
    }
}

/* Puts the pixels of a file, red first and side by side, where the frame has them. */
static void arrange(const frame *wanted, const uint8_t *pixels, uint8_t *data)
{
    const size_t count = wanted->width * wanted->height;
    for (size_t i = 0; i < count; i++) {
        for (size_t channel = 0; channel < wanted->channels; channel++) {
            const size_t place = wanted->blue_first ? wanted->channels - 1 - channel : channel;
            data[wanted->planes ? place * count + i : i * wanted->channels + place] =
                pixels[i * wanted->channels + channel];
        }
    }
}

es_input ppm_read(const char *path, const es_tensor_info *info)
{
    const frame wanted = frame_of(path, info);
    FILE *const file = fopen(path, "rb");
    if (file == NULL) {
        fatal("%s: cannot be opened: %s", path, strerror(errno));
    }
    check_header(file, path, info, &wanted);
    uint8_t *const pixels = allocate(info->size_bytes, 1);
    if (fread(pixels, 1, info->size_bytes, file) != info->size_bytes) {
        fatal("%s: is shorter than its header says", path);
    }
    if (fgetc(file) != EOF) {
        fatal("%s: is longer than its header says", path);
    }
    fclose(file);
    uint8_t *const data = allocate(info->size_bytes, 1);
    arrange(&wanted, pixels, data);
    free(pixels);
    return (es_input){.data = data, .size_bytes = info->size_bytes};
}
