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

bool es_asks_for_more(const es_container *container, es_status status)
{
    const bool is_newer = container->minor > ES_FORMAT_MINOR;
    return status == ES_ERR_CPU || status == ES_ERR_UNSUPPORTED ||
           (is_newer && (status == ES_ERR_INVALID || status == ES_ERR_LIMIT));
}

/* Why no plan is taken: in the words of the first that is for this kind of CPU, else of the first. */
typedef struct refusal {
    es_error why;
    bool any;
    bool is_ours; /* it is about a plan for this kind of CPU */
    bool by_cpu;  /* this CPU lacks something that a plan needs */
} refusal;

static void note_refusal(refusal *all, es_status status, bool is_ours, const es_error *why)
{
    all->by_cpu = all->by_cpu || status == ES_ERR_CPU;
    if (!all->any || (is_ours && !all->is_ours)) {
        all->why = *why;
        all->is_ours = is_ours;
    }
    all->any = true;
}

es_status es_choose_plan(const es_container *container, uint64_t refused, es_choice *choice,
                         es_error *error)
{
    const uint32_t core = es_cpu_core();
    es_choice found = {.count = 0};
    refusal no = {.any = false};
    bool any = false;
    for (uint32_t i = 0; i < container->section_count; i++) {
        const es_section *const section = &container->sections[i];
        if (section->kind != ES_SECTION_PLAN) {
            continue;
        }
        es_plan plan = {.isa = (es_isa)0};
        es_error why;
        const size_t number = found.count++;
        es_status status = es_plan_read_header(container, section->content, &plan, &why);
        if (status == ES_OK) {
            status = check_cpu(&plan, &why);
        }
        if (status != ES_OK && !es_asks_for_more(container, status)) {
            return es_fail(error, status, "%s", why.message);
        }
        if (status != ES_OK) {
            note_refusal(&no, status, plan.isa == ES_THIS_ISA, &why);
        } else if ((refused >> number & 1) == 0) {
            const bool is_better = core != 0 && plan.core == core && found.plan.core != core;
            if (!any || is_better) {
                found.plan = plan;
                found.number = number;
            }
            any = true;
        }
    }
    const es_status status = no.by_cpu ? ES_ERR_CPU : ES_ERR_UNSUPPORTED;
    if (!any && found.count > 1) {
        return es_fail(error, status, "none of the %llu plans runs on this machine; %s",
                       ES_U(found.count), no.why.message);
    }
    ES_REQUIRE(any, error, status, "%s", no.why.message);
    *choice = found;
    return ES_OK;
}
