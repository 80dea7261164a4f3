/* Running the stages of a plan, and choosing among instruction sets. Plain C for any machine. */
#include <string.h>
#include <time.h>
#ifdef __SSE__
#include <xmmintrin.h>
#endif

#include "team.h"

static ptrdiff_t smaller(ptrdiff_t a, ptrdiff_t b) { return a < b ? a : b; }

double microseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1e6 + now.tv_nsec * 1e-3;
}

static void make_call(const call *c, const run *r, ptrdiff_t item)
{
    const double start = r->spent_in_calls ? microseconds() : 0.0;
    c->function(c->op, r, item);
    if (r->spent_in_calls)
        r->spent_in_calls[c->number] += microseconds() - start;
}

/* Calls of one stage for one item. */
static void run_item(const stage *s, const run *r, ptrdiff_t item)
{
    if (s->items != SLOTS) {
        for (ptrdiff_t i = 0; i < s->count; i++)
            make_call(s->calls + i, r, item);
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
                    make_call(each, r, slot);
            }
        }
    }
}

ptrdiff_t items_of(const stage *s, const run *r)
{
    if (s->items >= 0)
        return s->items;
    return s->items == SLOTS ? r->items : -s->items * r->slots;
}

/* --- numbers too small for the exponent ----------------------------------------------------------
 *
 * They take a hundred times as long as others, and a training step loses nothing with them. So
 * they count as 0 while a thread works here, and only there. */

#ifdef __SSE__
enum { FLUSH = 0x8040 };                    /* results and operands */
unsigned flush_subnormals(void)
{
    const unsigned before = _mm_getcsr();
    _mm_setcsr(before | FLUSH);
    return before;
}
void restore_subnormals(unsigned before) { _mm_setcsr(before); }
#else
unsigned flush_subnormals(void) { return 0; }
void restore_subnormals(unsigned before) { (void)before; }
#endif

/* --- running ------------------------------------------------------------------------------------- */

enum { PATIENCE = 30 };                     /* milliseconds between two questions */

/* A clock that is cheap to read and fine enough for that. */
static long long milliseconds(void)
{
    struct timespec now;
#ifdef CLOCK_MONOTONIC_COARSE
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
#else
    clock_gettime(CLOCK_MONOTONIC, &now);
#endif
    return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

/* Whether an item of this stage is still to be computed. */
static int goes_on(const stage *s, interruption *i)
{
    if (i->wanted && !s->whole && thread_number() == 0) {
        const long long now = milliseconds();
        if (now - i->asked >= PATIENCE) {
            i->asked = now;
            if (i->wanted())
                __atomic_store_n(&i->stopped, 1, __ATOMIC_RELAXED);
        }
    }
    return !__atomic_load_n(&i->stopped, __ATOMIC_RELAXED);
}

void note_time(double *spent, ptrdiff_t s)
{
    if (spent == NULL)
        return;
    const double now = microseconds();
    spent[s] -= now;
    if (s > 0)
        spent[s - 1] += now;
}

run own_view(const run *r)
{
    run own = *r;
    own.local += thread_number() * r->local_stride;
    own.scratch += thread_number() * r->scratch_stride;
    own.spent_in_calls = thread_number() == 0 ? r->spent_in_calls : NULL;
    return own;
}

void compute_item(const stage *s, const run *r, ptrdiff_t item)
{
    if (goes_on(s, r->interruption))
        run_item(s, r, item);
}

static void run_alone(const stage *stages, ptrdiff_t count, const run *r)
{
    for (const stage *s = stages; s < stages + count; s++) {
        note_time(r->spent, s - stages);
        for (ptrdiff_t item = 0; item < items_of(s, r); item++)
            compute_item(s, r, item);
    }
    note_time(r->spent, count);
}

/* Who computes an item does not matter to its result. With one thread there is no team: a forked
 * child has no threads to wake. */
int run_stages(const stage *stages, ptrdiff_t count, const run *r, int threads)
{
    const unsigned before = flush_subnormals();
    r->interruption->asked = r->interruption->wanted ? milliseconds() : 0;
    r->interruption->stopped = 0;
    if (threads <= 1 || !run_with_team(stages, count, r, threads))
        run_alone(stages, count, r);
    restore_subnormals(before);
    return !r->interruption->stopped;
}

/* --- instruction sets ---------------------------------------------------------------------------- */

extern const kernel_table kernels_generic;
#ifdef MINICNN_X86
extern const kernel_table kernels_avx2, kernels_avx512;

/* __builtin_cpu_supports asks CPUID and, of XCR0, whether the system saves the registers. */
static int has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

static int has_avx512(void)
{
#ifdef MINICNN_PLAIN_512
    return has_avx2();                      /* nothing else is used: plain512.h */
#else
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")
        && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
#endif
}
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

const kernel_table *choose_kernels(const char *name)
{
    const level levels[] = {
#ifdef MINICNN_X86
        {"avx512", &kernels_avx512, has_avx512()},
        {"avx2", &kernels_avx2, has_avx2()},
#endif
        {"generic", &kernels_generic, 1},
    };
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
        if (levels[i].supported && (name == NULL || strcmp(name, levels[i].name) == 0))
            return levels[i].table;
    }
    return NULL;
}
