/* What a plan is made of: operations, and stages that say who may run beside whom.
 *
 * A *slot* is memory for one or more samples. All slots look alike, and lie one after the other in
 * the arena. Within a slot a map is [planes][height][width][LANES], perhaps with a border of
 * zeros around each plane that some convolution needs. The lanes are
 *
 *     samples    a slot holds LANES samples, and a plane is one channel
 *     channels   a slot holds one sample, and a plane is LANES channels; those that the map does
 *                not have are 0
 *
 * A plan is of one kind or the other. Offsets and strides count floats.
 */
#ifndef MINICNN_ENGINE_H
#define MINICNN_ENGINE_H

#include <stddef.h>
#include <stdint.h>

enum { IN_SLOT, IN_THREAD, IN_INPUT, IN_OUTPUT };   /* where a map is; the last one: y of Linear */

typedef struct {
    ptrdiff_t where;
    ptrdiff_t copies, step;                 /* in a thread: for so many slots, so far apart */
    ptrdiff_t offset;                       /* of pixel (0, 0, 0) from the start of the slot */
    ptrdiff_t channels, height, width;      /* channels: planes */
    ptrdiff_t plane, row;                   /* from plane to plane, from row to row */
} map;

/* The positions of a kernel that one set of output pixels needs, as `weighted_sum` wants them. */
typedef struct {
    ptrdiff_t count;
    const ptrdiff_t *x, *weight;            /* (count,) */
    ptrdiff_t first_row, first_column;      /* of those pixels; the next ones are `stride` away */
    ptrdiff_t rows;                         /* of the kernel, each with equally many positions: */
    const ptrdiff_t *down;                  /* (rows,) row number i of the pixels meets i + down */
} tap_set;

typedef struct {
    map x, y, dx, dy;                       /* dx.channels is 0 where nobody asks for dx */
    const float *weight, *bias;             /* NULL: none */
    float *dweight, *dbias;
    int relu;                               /* y = max(0, y) at the end */
    int gate;                               /* x is such a y: dx = 0 where x <= 0 */
    /* Conv2d, pooling */
    ptrdiff_t kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w, groups;
    ptrdiff_t input_sets;
    tap_set forward_taps;
    const tap_set *input_taps;              /* (input_sets,), one for each residue of a stride */
    const ptrdiff_t *weight_taps;           /* where each weight of a group, or (channels in the
                                               lanes) of a plane, meets x */
    ptrdiff_t partial;                      /* of this op's gradients within a slot's partials */
    map bytes;                              /* winners, or a dropout mask; only its place counts */
    int count_include_pad;
    ptrdiff_t group;                        /* slots that this op's kernels take at a time */
    ptrdiff_t parts, output_parts;          /* of a slot: items that share its work; among those
                                               that share the outputs too (Winograd) */
    /* channels in the lanes */
    ptrdiff_t inputs, outputs;              /* channels, not counting idle lanes */
    ptrdiff_t side;                         /* pixels of dx that one vector holds while summed */
    int tight;                              /* the backward pass has tight maps: tight_winners.c */
    int planar;                             /* x is as it came: a pixel is one value */
    ptrdiff_t gradient_run;                 /* planar: weights that meet neighbours in x */
    map pooled, dpooled;                    /* of a MaxPool2d that is part of this op; its windows */
    ptrdiff_t pool_h, pool_w;
    uint64_t *seen;                         /* what is packed, by its fingerprint; NULL: nothing */
    float *packed, *packed_back;            /* weights, for forward and for dx */
    /* BatchNorm; or one that is part of a convolution, with gamma and beta */
    const float *gamma, *beta;              /* (outputs,); NULL: none */
    float *running_mean, *running_var;      /* (channels,) */
    int frozen;                             /* they are constants, also of the backward pass */
    double *statistics;                     /* (2, channels): mean, 1 / deviation of the batch */
    double *sums;                           /* (slots, 2, channels) */
    double momentum, eps;
    /* Dropout, LeakyReLU */
    double p;
    uint64_t seed, step;
    uint32_t stream;
    int whole_channels;
    float slope;
} op;

/* What a training step has besides its passes: the loss between them, and the update of all
 * parameters behind them. N: batch, K: classes. */
typedef struct {
    /* Softmax cross-entropy of the rows of run.output; the gradient goes to run.doutput. */
    ptrdiff_t classes;
    const int64_t *labels;                  /* (N,), each in 0..K-1 or ignore_index */
    int64_t ignore_index;
    const float *class_weight;              /* (K,), NULL: all 1 */
    double smoothing;
    double weight_sum, weight_of_all;       /* of the samples' labels; of all classes */
    float *dlogits;                         /* (N, K) */
    double *sums, *of_log, *rest;           /* (N, in whole vectors, then 1, 0, 0): the loss of a
                                               row is of_log * log(sums) + rest */
    uint8_t *right;                         /* (N,), whether the largest logit is the label's */
    double loss;                            /* of the batch; the parameters move if it is finite */
    ptrdiff_t correct;
    /* A batch that is not yet (N, run.input_size) floats one after the other: `gather` makes it */
    const uint8_t *bytes;                   /* samples as bytes, which become 0 ... 1; or NULL: */
    const float *floats;                    /* samples as floats */
    const int64_t *chosen;                  /* (N,), which of them; NULL: all, in order */
    float *gathered;                        /* what run.input is then */
    /* Clipping and update. Rates are double and rounded where they are used. */
    ptrdiff_t size, block_count;
    const ptrdiff_t (*blocks)[2];           /* (block_count,): the first value of an item's, and the
                                               end of them */
    float *values, *gradients;              /* (size,) */
    float *state[2];                        /* (size,): the optimizer's; NULL: none */
    double *squares;                        /* (block_count,) */
    double max_norm;                        /* infinite: no clipping */
    double factor;                          /* what the gradients are multiplied by */
    enum { SGD, ADAM } rule;
    double lr, weight_decay;
    double momentum, undamped;
    int nesterov, first;                    /* first: the state holds nothing yet */
    double beta1, beta2, eps, root1, root2; /* root: correction for the start at zero */
    int decoupled;
} training;

/* Whether a run goes on: the first thread asks now and then whether somebody wants it to end. */
typedef struct {
    int (*wanted)(void);                    /* nonzero: end it; NULL: it is over too soon to ask */
    long long asked;                        /* when, in milliseconds */
    int stopped;
} interruption;

/* One run of a plan. */
typedef struct {
    float *arena;                           /* (slots, slot_stride) */
    ptrdiff_t slot_stride, batch, slots;    /* slots in use */
    ptrdiff_t items;                        /* groups of neighbouring slots; see first_slot */
    ptrdiff_t threads;                      /* that may take part; no result depends on it */
    float *partials;                        /* (items, partial_stride): private gradients */
    ptrdiff_t partial_stride;
    float *local;                           /* (threads, local_stride): what lives for one stage */
    ptrdiff_t local_stride;
    float *scratch;                         /* (threads, scratch_stride): while a pass runs */
    ptrdiff_t scratch_stride;               /* kernels see their thread's part of both */
    ptrdiff_t input_size, output_size;      /* values of a sample */
    const float *input;                     /* (batch, ...) */
    float *output;                          /* (batch, ...) */
    const float *doutput;                   /* (batch, ...) */
    float *dinput;                          /* (batch, ...); NULL: nobody asks for it */
    ptrdiff_t samples;                      /* of one slot */
    training *step;                         /* NULL outside of training steps */
    interruption *interruption;
    double *spent;                          /* microseconds in each stage, and one more; or NULL */
    double *spent_in_calls;                 /* in each call; NULL: nobody asks */
} run;

typedef void pass(const op *, const run *, ptrdiff_t item);

enum { SLOTS = -1 };                        /* of a stage: its items are groups of slots */

/* `calls` are made one after the other for each item; items run side by side. Items are groups of
 * slots (SLOTS), blocks of outputs, or so many parts of every slot (below SLOTS: -items of them,
 * those of a slot side by side). Of the slots of a group, `grain` go through all calls
 * before the next ones; a call takes `every` of them at a time, and neighbouring calls that take
 * the same number are made one after the other for these. The next stage waits for all items if
 * `wait`; a stage without items is passed over, and waits for nothing. Nothing interrupts a
 * `whole` stage or what comes after it. */
typedef struct {
    pass *function;
    const op *op;
    ptrdiff_t every;
    ptrdiff_t number;                       /* among the calls of all stages */
} call;

typedef struct {
    ptrdiff_t items;
    const call *calls;
    ptrdiff_t count, grain;
    int wait, whole;
} stage;

/* What one instruction set offers. */
typedef struct {
    const char *name;
    pass *function;
} named_pass;

typedef struct {
    const char *name;                       /* as compiled: asked of the compiler, not of us */
    ptrdiff_t lanes;
    const named_pass *passes;               /* the last one has no name */
    double (*fma_probe)(ptrdiff_t steps, float *sink);
} kernel_table;

/* The function of that name; NULL when there is none. */
pass *find_pass(const kernel_table *table, const char *name);

enum {
    LINEAR_OUTPUTS = 16,                    /* outputs of one item of linear_forward */
    LINEAR_INPUTS = 48,                     /* inputs of one item of linear_backward_input */
    LINEAR_VECTORS = 4,                     /* vectors of inputs of linear_backward_weight */
    PARTIAL_BLOCK = 2048,                   /* values of one item of sum_partials */
    ROWS_OUTPUTS = 32,                      /* most outputs of one item of rows_forward */
    ROWS_SHARES = 2,                        /* of the samples, where all outputs are one item */
    ROWS_INPUTS = 128,                      /* most inputs of one item of rows_backward_* */
    ROWS_SAMPLES = 64,                      /* samples that the passes on rows take at a time, */
    ROWS_BLOCK = 1024,                      /* inputs that they take at a time (forward), */
    ROWS_TERMS = 256,                       /* outputs that they take at a time (dx), */
    ROWS_SCRATCH = 65536 + 8192,            /* and floats of scratch that they take */
    MOST_OUTPUTS = 4,                       /* whose gradients conv_backward sums at a time */
    TIGHT_ROWS = 5,                         /* most rows of a kernel that tight_* take, */
    TIGHT_FLOATS = 64,                      /* values of one that may start a pixel later, */
    TIGHT_OUTPUTS = 4,                      /* and outputs of an item of tight_sum_partials */
    WINNER_WINDOWS = 256,                   /* that add_winner_rows takes at a time, */
    WINNER_PLANES = 4,                      /* and planes of x that it may copy side by side */
    BATCH_VECTORS = 2,                      /* of channel_conv_backward_weight_of_all */
    UPDATE_BLOCK = 4096,                    /* most parameters of one item of the update */
    SUM_VECTORS = 8,                        /* vectors of weights of one of channel_sum_partials */
    WINOGRAD_PANEL = 2,                     /* vectors of outputs computed side by side */
    WINOGRAD_FLOATS = 256 * 1024,           /* of scratch memory for a block of tiles, */
    WINOGRAD_MOST_TILES = 128,              /* which has at most and at least so many */
    WINOGRAD_FEWEST_TILES = 14,
    STRIDED_FLOATS = 48 * 1024,             /* the same at stride 2; most and fewest tiles, too */
    STRIDED_CHANNELS = 32,                  /* inputs, and outputs, of an item of
                                               strided_conv_backward_weight_of_all */
};

/* The table of the best instruction set of this machine, or of the one called `name` (NULL:
 * best). NULL when it is unknown, or this machine or its system does not support it. */
const kernel_table *choose_kernels(const char *name);

/* Which of the threads of this run asks. */
int thread_number(void);

/* All stages in order, on `threads` threads. 0 when the run was interrupted, and is not whole. */
int run_stages(const stage *stages, ptrdiff_t count, const run *r, int threads);

#endif
