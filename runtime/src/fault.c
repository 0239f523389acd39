#include "fault.h"

#include <string.h>

enum { KERNEL_FAULT = 1 }; /* what a kernel that filled in its fault returns */

static bool is_lower(const es_fault *left, const es_fault *right)
{
    return left->element != right->element ? left->element < right->element
                                           : left->operand < right->operand;
}

static void keep(es_faults *faults, const es_fault *fault, int32_t status)
{
    if (faults->status == 0 || is_lower(fault, &faults->first)) {
        faults->first = *fault;
        faults->status = status;
    }
}

void es_faults_keep(es_faults *faults, int32_t status)
{
    keep(faults, &faults->last, status);
}

static double as_double(int64_t bits)
{
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static es_status describe(const es_fault *fault, const es_plan *plan, size_t index,
                          es_error *error)
{
    const es_step *const step = &plan->steps[index];
    const uint64_t operand = (uint64_t)fault->operand;
    const char *const name =
        operand < step->arg_count ? plan->args[step->first_arg + operand].name : "";
#define SITE "step %llu '%s' (%s): element %lld of '%s' is "
#define SITE_VALUES                                                                  \
    ES_U(index), step->info.name, step->info.op, ES_I(fault->element), name
    switch (fault->kind) {
    case ES_FAULT_INTEGER:
        return es_fail(error, ES_ERR_INPUT, SITE "%lld, expected %lld to %lld", SITE_VALUES,
                       ES_I(fault->found), ES_I(fault->lowest), ES_I(fault->highest));
    case ES_FAULT_FLOAT:
        return es_fail(error, ES_ERR_INPUT, SITE "%g, expected %g to %g", SITE_VALUES,
                       as_double(fault->found), as_double(fault->lowest),
                       as_double(fault->highest));
    case ES_FAULT_DIVISOR:
        return es_fail(error, ES_ERR_INPUT, SITE "0, which nothing can be divided by", SITE_VALUES);
    default:
        return es_fail(error, ES_ERR_INPUT, SITE "not allowed", SITE_VALUES);
    }
#undef SITE
#undef SITE_VALUES
}

es_status es_faults_report(es_faults *faults, uint32_t threads, const es_plan *plan, size_t step,
                           es_error *error)
{
    es_faults found = {.status = 0};
    for (uint32_t i = 0; i < threads; i++) {
        if (faults[i].status != 0) {
            keep(&found, &faults[i].first, faults[i].status);
            faults[i].status = 0;
        }
    }
    ES_REQUIRE(found.status == KERNEL_FAULT, error, ES_ERR_UNSUPPORTED,
               "step %llu '%s': its kernel returned %lld, which this runtime does not know; install a "
               "newer runtime",
               ES_U(step), plan->steps[step].info.name, ES_I(found.status));
    return describe(&found.first, plan, step, error);
}
