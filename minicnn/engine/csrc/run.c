/* Running the stages of a plan, and choosing among instruction sets. Plain C for any machine. */
#include <string.h>
#ifdef _OPENMP
#include <omp.h>
#endif

#include "engine.h"

static ptrdiff_t smaller(ptrdiff_t a, ptrdiff_t b) { return a < b ? a : b; }

/* Calls of one stage for one item. */
static void run_item(const stage *s, const run *r, ptrdiff_t item)
{
    if (s->items >= 0) {
        for (ptrdiff_t i = 0; i < s->count; i++)
            s->calls[i].function(s->calls[i].op, r, item);
        return;
    }
    const ptrdiff_t end = (item + 1) * r->slots / r->items;
    for (ptrdiff_t first = item * r->slots / r->items; first < end; first += s->grain) {
        const ptrdiff_t after = smaller(first + s->grain, end);
        for (const call *c = s->calls, *next; c < s->calls + s->count; c = next) {
            for (next = c + 1; next < s->calls + s->count && next->every == c->every;)
                next++;
            for (ptrdiff_t slot = first; slot < after; slot += c->every) {
                for (const call *each = c; each < next; each++)
                    each->function(each->op, r, slot);
            }
        }
    }
}

static ptrdiff_t items_of(const stage *s, const run *r)
{
    return s->items < 0 ? r->items : s->items;
}

int thread_number(void)
{
#ifdef _OPENMP
    return omp_get_thread_num();
#else
    return 0;
#endif
}

/* One parallel region for all stages. Who computes an item does not matter to its result. */
void run_stages(const stage *stages, ptrdiff_t count, const run *r, int threads)
{
    if (threads <= 1) {             /* no region: a forked child has no threads to wake */
        for (const stage *s = stages; s < stages + count; s++) {
            for (ptrdiff_t item = 0; item < items_of(s, r); item++)
                run_item(s, r, item);
        }
        return;
    }
#pragma omp parallel num_threads(threads)
    for (const stage *s = stages; s < stages + count; s++) {
#pragma omp for schedule(dynamic, 1) nowait
        for (ptrdiff_t item = 0; item < items_of(s, r); item++)
            run_item(s, r, item);
        if (s->wait) {
#pragma omp barrier
        }
    }
}

/* --- instruction sets ---------------------------------------------------------------------------- */

extern const kernel_table kernels_generic;
#ifdef MINICNN_X86
extern const kernel_table kernels_avx2, kernels_avx512;
#endif

typedef struct {
    const char *name;
    const kernel_table *table;
    int supported;
} level;

pass *find_pass(const kernel_table *table, const char *name)
{
    for (const named_pass *p = table->passes; p->name; p++) {
        if (strcmp(p->name, name) == 0)
            return p->function;
    }
    return NULL;
}

/* __builtin_cpu_supports asks CPUID and, of XCR0, whether the system saves the registers. */
const kernel_table *choose_kernels(const char *name)
{
    const level levels[] = {
#ifdef MINICNN_X86
        {"avx512", &kernels_avx512,
         __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")
         && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")
         && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")},
        {"avx2", &kernels_avx2, __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")},
#endif
        {"generic", &kernels_generic, 1},
    };
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
        if (levels[i].supported && (name == NULL || strcmp(name, levels[i].name) == 0))
            return levels[i].table;
    }
    return NULL;
}
