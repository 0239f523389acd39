#include "placement.h"

#include "platform.h"

es_status es_check_placement(const uint32_t *cores, size_t core_count, uint32_t priority,
                             es_error *error)
{
    ES_REQUIRE(cores != NULL || core_count == 0, error, ES_ERR_ARGUMENT,
               "%llu cores, but their list is NULL", ES_U(core_count));
    ES_REQUIRE(priority <= ES_MAX_PRIORITY, error, ES_ERR_ARGUMENT,
               "a priority of %llu, expected 0 to %llu", ES_U(priority), ES_U(ES_MAX_PRIORITY));
    for (size_t i = 0; i < core_count; i++) {
        ES_REQUIRE(cores[i] < ES_MAX_CORES, error, ES_ERR_ARGUMENT, "core %llu, expected 0 to %llu",
                   ES_U(cores[i]), ES_U(ES_MAX_CORES - 1));
        for (size_t j = 0; j < i; j++) {
            ES_REQUIRE(cores[j] != cores[i], error, ES_ERR_ARGUMENT, "core %llu is named twice",
                       ES_U(cores[i]));
        }
    }
    return ES_OK;
}

es_status es_place_thread(const uint32_t *cores, size_t core_count, uint32_t priority,
                          es_error *error)
{
    ES_TRY(es_check_placement(cores, core_count, priority, error));
    if (core_count > 0) {
        ES_TRY(es_bind_thread(cores, core_count, error));
    }
    return priority > 0 ? es_make_nicer(priority, error) : ES_OK;
}
