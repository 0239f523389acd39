/* Says what raw frames show, one after the other:
 *
 *     gcc -std=c11 classify.c libedgesparse.a -pthread -o classify
 *     ffmpeg -i video.mp4 -vf scale=640:480 -pix_fmt rgb24 -f rawvideo - | ./classify model.esp
 */
#include <stdio.h>
#include <stdlib.h>

#include "edgesparse.h"

static void require(es_status status, const es_error *error)
{
    if (status != ES_OK) {
        fprintf(stderr, "classify: %s\n", error->message);
        exit(1);
    }
}

/* The number of the largest score. */
static size_t largest(const float *scores, size_t count)
{
    size_t best = 0;
    for (size_t i = 1; i < count; i++) {
        best = scores[i] > scores[best] ? i : best;
    }
    return best;
}

int main(int count, char **arguments)
{
    if (count != 2) {
        fprintf(stderr, "usage: classify MODEL.esp < frames\n");
        return 2;
    }
    es_error error;
    es_model *model;
    es_session *session;
    require(es_model_open_file(arguments[1], 0, &model, &error), &error);
    require(es_session_open(model, 4, &session, &error), &error);

    es_model_info info;
    es_tensor_info frame = {.picture = ES_NO_PICTURE};
    es_tensor_info scores = {.dtype = ES_UINT8};
    es_model_describe(model, &info);
    es_model_input(model, 0, &frame);
    es_model_output(model, 0, &scores);
    if (info.input_count != 1 || info.output_count != 1 || frame.picture == ES_NO_PICTURE ||
        scores.dtype != ES_FLOAT32) {
        fprintf(stderr, "classify: %s: expected a model from a frame to scores\n", arguments[1]);
        return 1;
    }

    uint8_t *const pixels = malloc(frame.size_bytes);
    float *const numbers = malloc(scores.size_bytes);
    const es_input input = {.data = pixels, .size_bytes = frame.size_bytes};
    const es_output output = {.data = numbers, .size_bytes = scores.size_bytes};
    while (pixels != NULL && numbers != NULL &&
           fread(pixels, 1, frame.size_bytes, stdin) == frame.size_bytes) {
        require(es_session_run(session, &input, 1, &output, 1, &error), &error);
        const size_t best = largest(numbers, scores.size_bytes / sizeof *numbers);
        const char *const label = es_model_label(model, best);
        printf("%8.3f  %s\n", (double)numbers[best], label != NULL ? label : "(no label)");
    }
    free(pixels);
    free(numbers);
    es_session_close(session);
    es_model_close(model);
    return 0;
}
