#include "choice.h"

#include "platform.h"

const char *es_isa_name(es_isa isa)
{
    switch (isa) {
#define CASE(name, value) \
    case ES_ISA_##name:   \
        return #name;
        ES_ISA_LIST(CASE)
#undef CASE
    }
    return "an unknown CPU";
}

/* Rejects a plan that this CPU cannot run, naming the first feature it lacks. */
static es_status check_cpu(const es_plan *plan, es_error *error)
{
    ES_REQUIRE(plan->isa == ES_THIS_ISA, error, ES_ERR_CPU,
               "plan: compiled for %s, this machine is %s; compile for a target of this machine",
               es_isa_name(plan->isa), es_isa_name(ES_THIS_ISA));
    const uint64_t missing = plan->cpu_features & ~es_cpu_features();
#define REQUIRE_FEATURE(name, bit)                             \
    ES_REQUIRE((missing & ES_CPU(name)) == 0, error, ES_ERR_CPU, \
               "plan: needs %s, which this CPU lacks; compile for a target of this machine", #name);
    ES_CPU_FEATURE_LIST(REQUIRE_FEATURE)
#undef REQUIRE_FEATURE
    ES_REQUIRE(missing == 0, error, ES_ERR_UNSUPPORTED,
               "plan: needs CPU features that this runtime does not know (bits %llu); install a "
               "newer runtime",
               ES_U(missing));
    return ES_OK;
}

static es_status read_plan(const es_container *container, es_bytes section, es_plan *plan,
                           es_error *error)
{
    ES_TRY(es_plan_read_header(container, section, plan, error));
    return check_cpu(plan, error);
}

es_status es_choose_plan(const es_container *container, es_choice *choice, es_error *error)
{
    const uint32_t core = es_cpu_core();
    es_choice found = {.count = 0};
    es_error why = {.message = ""};
    es_status status = ES_ERR_CPU; /* of the last plan that cannot be run */
    bool any = false;
    for (uint32_t i = 0; i < container->section_count; i++) {
        const es_section *const section = &container->sections[i];
        if (section->kind != ES_SECTION_PLAN) {
            continue;
        }
        es_plan plan;
        const size_t number = found.count++;
        const es_status read = read_plan(container, section->content, &plan, &why);
        if (read == ES_OK) {
            const bool is_better = core != 0 && plan.core == core && found.plan.core != core;
            if (!any || is_better) {
                found.plan = plan;
                found.number = number;
            }
            any = true;
        } else if (read == ES_ERR_CPU || read == ES_ERR_UNSUPPORTED) {
            status = read;
        } else {
            return es_fail(error, read, "%s", why.message);
        }
    }
    if (!any && found.count > 1) {
        return es_fail(error, status, "none of the %llu plans is for this machine; the last %s",
                       ES_U(found.count), why.message);
    }
    ES_REQUIRE(any, error, status, "%s", why.message);
    *choice = found;
    return ES_OK;
}
