/* The threads that run a plan's stages together with the one that asks for it. */
#ifndef MINICNN_TEAM_H
#define MINICNN_TEAM_H

#include "engine.h"

/* Run the stages on up to `threads` threads, of which the caller is one. 0: nothing was done,
 * because another run has the team or it cannot be had; the caller is alone then. */
int run_with_team(const stage *stages, ptrdiff_t count, const run *r, int threads);

/* The run as this thread's kernels are to see it: with its own part of `local` and `scratch`. */
run own_view(const run *r);

/* What a thread does with one item, unless the run was interrupted. In run.c. */
void compute_item(const stage *s, const run *r, ptrdiff_t item);

ptrdiff_t items_of(const stage *s, const run *r);

double microseconds(void);

/* Stage s begins, for the thread that leads a run, and the one before has ended. */
void note_time(double *spent, ptrdiff_t s);

/* Subnormal numbers count as 0 from here on; what to give back to `restore_subnormals`. */
unsigned flush_subnormals(void);
void restore_subnormals(unsigned before);

#endif
