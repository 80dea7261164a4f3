/* Threads that help with a run, and never hold it up.
 *
 * A run does not wait for threads, but for items. Whoever is there takes the next item that nobody
 * has; the caller begins at once and, if no other thread gets a processor in time, does
 * everything itself. So waking costs one call of the system, and a busy machine makes a run as slow
 * as with one thread but no slower. (A barrier of OpenMP waits for every thread to arrive: with two
 * busy processors a parallel region took 50 us, or with the default settings 20 ms.)
 *
 * A worker may fall asleep anywhere and wake up runs later. So all that it reads before it has an
 * item is memory of the team, and each count carries the number of its run: a count of another
 * run gives it nothing. Who has an item may follow the pointers, since the run cannot end before
 * the item is done.
 */
#include "team.h"

#ifdef _WIN32

int run_with_team(const stage *stages, ptrdiff_t count, const run *r, int threads)
{
    (void)stages, (void)count, (void)r, (void)threads;
    return 0;
}

int thread_number(void) { return 0; }

#else

#include <pthread.h>
#include <sched.h>
#include <signal.h>

enum {
    MAX_STAGES = 1024,
    MAX_WORKERS = 1023,
    MAX_HOMES = 4,
    IDLE_SPIN = 50,                         /* microseconds a worker stays awake without work */
    STAGE_SPIN = 20,                        /* and any thread, before it lets others run */
};

/* The number of the run in the upper half, what is left in the lower. A cache line each. */
typedef struct {
    uint64_t word;
    char padding[56];
} counter;

static struct {
    uint32_t epoch;                         /* number of the newest run */
    int threads;                            /* that may take part in it */
    const stage *stages;
    ptrdiff_t count;
    const run *run;
    int started, asleep;                    /* workers */
    int busy;
    pthread_mutex_t mutex;
    pthread_cond_t news;
    int phase[MAX_STAGES];                  /* of each stage: those up to one that is waited for */
    ptrdiff_t homes;                        /* parts of each stage's items; see `claim` */
    counter unclaimed[MAX_STAGES][MAX_HOMES];   /* items of each part that nobody has */
    counter undone[MAX_STAGES];             /* items of each phase that are not done */
} team = {.mutex = PTHREAD_MUTEX_INITIALIZER, .news = PTHREAD_COND_INITIALIZER};

static _Thread_local int number;            /* of this thread; 0 for who asked for a run */

int thread_number(void) { return number; }

static uint64_t read_word(const counter *c) { return __atomic_load_n(&c->word, __ATOMIC_ACQUIRE); }
static uint32_t left_in(uint64_t word) { return (uint32_t)word; }
static uint32_t epoch_of(uint64_t word) { return (uint32_t)(word >> 32); }

static void set(counter *c, uint32_t epoch, ptrdiff_t left)
{
    __atomic_store_n(&c->word, (uint64_t)epoch << 32 | (uint32_t)left, __ATOMIC_RELEASE);
}

/* --- waiting ------------------------------------------------------------------------------------- */

static void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Whether all items are done. 0: the run is over, and another one may have begun. */
static int wait_for(const counter *c, uint32_t epoch)
{
    double end = 0.0;
    for (unsigned turn = 1;; turn++) {
        const uint64_t word = read_word(c);
        if (epoch_of(word) != epoch)
            return 0;
        if (left_in(word) == 0)
            return 1;
        if (turn % 16) {
            relax();
            continue;
        }
        if (end == 0.0)
            end = microseconds() + STAGE_SPIN;
        else if (microseconds() > end)
            sched_yield();                  /* perhaps to the very thread that has the item */
    }
}

/* --- working -------------------------------------------------------------------------------------- */

/* How many items of a part nobody had, of which the caller now has one; 0: none. */
static uint32_t claim_of(counter *c, uint32_t epoch)
{
    uint64_t word = read_word(c);
    while (epoch_of(word) == epoch && left_in(word) > 0) {
        if (__atomic_compare_exchange_n(&c->word, &word, word - 1, 1, __ATOMIC_ACQ_REL,
                                        __ATOMIC_ACQUIRE))
            return left_in(word);
    }
    return 0;
}

/* Where a part ends. */
static ptrdiff_t part_end(ptrdiff_t items, ptrdiff_t part, ptrdiff_t parts)
{
    return ((part + 1) * items + parts - 1) / parts;
}

/* One thread's part in a run: until no item is left to take. spent: NULL for all but the leader.
 *
 * The items of every stage fall into equal parts, and a thread begins with its own: the same
 * samples, or the same share of the weights, in all stages, which its caches may still hold. Then
 * it helps the others. What it has done of a part it reports at once: all threads write that count. */
static void take_part(uint32_t epoch, double *spent)
{
    const ptrdiff_t count = __atomic_load_n(&team.count, __ATOMIC_RELAXED);
    const ptrdiff_t homes = __atomic_load_n(&team.homes, __ATOMIC_RELAXED);
    int reached = 0, looked = 0;
    run own;
    for (ptrdiff_t s = 0; s < count; s++) {
        const int phase = __atomic_load_n(&team.phase[s], __ATOMIC_RELAXED);
        if (phase > reached && !wait_for(&team.undone[phase - 1], epoch))
            return;
        reached = phase;
        note_time(spent, s);
        for (ptrdiff_t i = 0; i < homes; i++) {
            const ptrdiff_t part = (number + i) % homes;
            uint32_t left, done = 0;        /* left: from the end of the part */
            for (; (left = claim_of(&team.unclaimed[s][part], epoch)); done++) {
                if (!looked++)
                    own = own_view(team.run);
                const ptrdiff_t items = items_of(team.stages + s, &own);
                compute_item(team.stages + s, &own, part_end(items, part, team.homes) - left);
            }
            if (done > 0)
                __atomic_fetch_sub(&team.undone[phase].word, done, __ATOMIC_ACQ_REL);
        }
    }
}

/* The number of the first run after `last`, awake for a while and then asleep. */
static uint32_t next_run(uint32_t last)
{
    const double end = microseconds() + IDLE_SPIN;
    uint32_t epoch;
    for (unsigned turn = 1; turn % 16 || microseconds() < end; turn++) {
        if ((epoch = __atomic_load_n(&team.epoch, __ATOMIC_ACQUIRE)) != last)
            return epoch;
        relax();
    }
    pthread_mutex_lock(&team.mutex);
    __atomic_fetch_add(&team.asleep, 1, __ATOMIC_SEQ_CST);
    while ((epoch = __atomic_load_n(&team.epoch, __ATOMIC_SEQ_CST)) == last)
        pthread_cond_wait(&team.news, &team.mutex);
    __atomic_fetch_sub(&team.asleep, 1, __ATOMIC_SEQ_CST);
    pthread_mutex_unlock(&team.mutex);
    return epoch;
}

static void *work(void *argument)
{
    uint32_t epoch = 0;
    number = (int)(intptr_t)argument;
    flush_subnormals();                     /* the thread does nothing else */
    for (;;) {
        epoch = next_run(epoch);
        if (number < __atomic_load_n(&team.threads, __ATOMIC_RELAXED))
            take_part(epoch, NULL);
    }
    return NULL;
}

/* --- leading -------------------------------------------------------------------------------------- */

/* Signals are for the threads of Python. If the system has no thread to give, there is one less. */
static void start_workers(int wanted)
{
    sigset_t all, before;
    pthread_t thread;
    if (team.started >= wanted)
        return;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (team.started < wanted && team.started < MAX_WORKERS
           && pthread_create(&thread, NULL, work, (void *)(intptr_t)(team.started + 1)) == 0) {
        pthread_detach(thread);
        team.started++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* Writes down the next run; returns the number of its last phase. */
static int prepare(const stage *stages, ptrdiff_t count, const run *r, int threads, uint32_t epoch)
{
    int phase = 0;
    ptrdiff_t undone = 0;
    team.stages = stages;
    team.run = r;
    __atomic_store_n(&team.count, count, __ATOMIC_RELAXED);
    __atomic_store_n(&team.threads, threads, __ATOMIC_RELAXED);
    const ptrdiff_t homes = threads < MAX_HOMES ? threads : MAX_HOMES;
    __atomic_store_n(&team.homes, homes, __ATOMIC_RELAXED);
    for (ptrdiff_t s = 0; s < count; s++) {
        const ptrdiff_t items = items_of(stages + s, r);
        __atomic_store_n(&team.phase[s], phase, __ATOMIC_RELAXED);
        for (ptrdiff_t part = 0; part < homes; part++) {
            const ptrdiff_t first = part > 0 ? part_end(items, part - 1, homes) : 0;
            set(&team.unclaimed[s][part], epoch, part_end(items, part, homes) - first);
        }
        undone += items;
        if (s == count - 1 || (stages[s].wait && items > 0)) {
            set(&team.undone[phase], epoch, undone);
            phase++;
            undone = 0;
        }
    }
    return phase - 1;
}

int run_with_team(const stage *stages, ptrdiff_t count, const run *r, int threads)
{
    if (count < 1 || count > MAX_STAGES || __atomic_exchange_n(&team.busy, 1, __ATOMIC_ACQUIRE))
        return 0;
    start_workers(threads - 1);
    const uint32_t epoch = team.epoch + 1;
    const int last = prepare(stages, count, r, threads, epoch);
    __atomic_store_n(&team.epoch, epoch, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&team.asleep, __ATOMIC_SEQ_CST) > 0) {
        pthread_mutex_lock(&team.mutex);
        pthread_cond_broadcast(&team.news);
        pthread_mutex_unlock(&team.mutex);
    }
    take_part(epoch, r->spent);
    wait_for(&team.undone[last], epoch);
    note_time(r->spent, count);
    __atomic_store_n(&team.busy, 0, __ATOMIC_RELEASE);
    return 1;
}

#endif
