/* Vectors of LANES samples, and the few operations on them that the kernels share.
 *
 * A vector holds the same value (one pixel of one channel, one feature) of LANES samples side by
 * side. The types are those of GCC and Clang: the compiler maps them to whatever the instruction
 * set of this compilation offers, so there is one source for all of them.
 */
#ifndef MINICNN_LANES_H
#define MINICNN_LANES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#ifdef __SSE2__
#include <immintrin.h>
#endif

#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ < 12
#error "the engine needs GCC 12 or later, or Clang: older ones lack __builtin_shufflevector"
#endif

#ifdef MINICNN_PLAIN_512
#include "plain512.h"
#endif

#if defined(__AVX512F__) || defined(MINICNN_PLAIN_512)
#define ISA avx512
#define LANES 16
#elif defined(__AVX2__) && defined(__FMA__)
#define ISA avx2
#define LANES 8
#else
#define ISA generic
#define LANES 4
#endif

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef int32_t ivec __attribute__((vector_size(4 * LANES)));
typedef uint32_t words __attribute__((vector_size(4 * LANES)));
typedef double dvec __attribute__((vector_size(8 * LANES)));
typedef uint8_t bvec __attribute__((vector_size(LANES)));
typedef float loose_vec __attribute__((vector_size(4 * LANES), aligned(4)));
typedef double loose_dvec __attribute__((vector_size(8 * LANES), aligned(8)));

/* The name of a function in the objects of this instruction set. */
#define JOIN(name, isa) name##_##isa
#define NAMED_FOR(name, isa) JOIN(name, isa)
#define NAMED(name) NAMED_FOR(name, ISA)

#define INLINE static inline __attribute__((always_inline))
#ifdef MINICNN_ROLLED                       /* the sanitizers take minutes for unrolled tiles */
#define UNROLL
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

INLINE vec load(const float *p) { return *(const vec *)p; }
INLINE void store(float *p, vec v) { *(vec *)p = v; }
INLINE vec load_loose(const float *p) { return *(const loose_vec *)p; }
INLINE void store_loose(float *p, vec v) { *(loose_vec *)p = v; }
/* v in a register: where it is used a few times, GCC would fetch it for each of them. */
INLINE vec held(vec v)
{
#if LANES > 4 && !defined(MINICNN_PLAIN_512)
    __asm__("" : "+v"(v));
#endif
    return v;
}
#if LANES == 16
#define ALL(s) {s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s}
#elif LANES == 8
#define ALL(s) {s, s, s, s, s, s, s, s}
#else
#define ALL(s) {s, s, s, s}
#endif
INLINE vec splat(float s) { return (vec)ALL(s); }
INLINE ivec lane_numbers(void)
{
#if LANES == 16
    return (ivec){0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
#elif LANES == 8
    return (ivec){0, 1, 2, 3, 4, 5, 6, 7};
#else
    return (ivec){0, 1, 2, 3};
#endif
}

/* `count` values, at most LANES, from or to any address; nothing beyond them is touched. A load
 * has zeros in the other lanes. */
#if LANES == 16
INLINE __mmask16 first_lanes(ptrdiff_t count) { return (__mmask16)((1u << count) - 1); }
INLINE vec load_some(const float *p, ptrdiff_t count)
{
    return (vec)_mm512_maskz_loadu_ps(first_lanes(count), p);
}
INLINE void store_some(float *p, vec v, ptrdiff_t count)
{
    _mm512_mask_storeu_ps(p, first_lanes(count), (__m512)v);
}
#elif LANES == 8
INLINE __m256i first_lanes(ptrdiff_t count)
{
    return (__m256i)(lane_numbers() < (ivec)ALL((int32_t)count));
}
INLINE vec load_some(const float *p, ptrdiff_t count)
{
    return (vec)_mm256_maskload_ps(p, first_lanes(count));
}
/* Not by a masked store, which takes some processors of AMD as long as twenty others. */
INLINE void store_some(float *p, vec v, ptrdiff_t count)
{
    if (count >= LANES) {
        *(loose_vec *)p = v;
        return;
    }
    __m128 part = _mm256_castps256_ps128((__m256)v);
    if (count & 4) {
        _mm_storeu_ps(p, part);
        part = _mm256_extractf128_ps((__m256)v, 1);
        p += 4;
    }
    if (count & 2) {
        _mm_storel_pi((__m64 *)p, part);
        part = _mm_movehl_ps(part, part);
        p += 2;
    }
    if (count & 1)
        _mm_store_ss(p, part);
}
#else
INLINE vec load_some(const float *p, ptrdiff_t count)
{
    vec v = splat(0.0f);
    memcpy(&v, p, count * sizeof *p);
    return v;
}
INLINE void store_some(float *p, vec v, ptrdiff_t count) { memcpy(p, &v, count * sizeof *p); }
#endif

/* LANES bytes as integers, and back (their low bytes). Compilers would go lane by lane. */
INLINE ivec load_bytes(const uint8_t *p)
{
#if LANES == 16
    return (ivec)_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p));
#elif LANES == 8
    return (ivec)_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p));
#else
    return __builtin_convertvector(*(const bvec *)p, ivec);
#endif
}
INLINE void store_bytes(uint8_t *p, ivec v)
{
#if LANES == 16
    _mm_storeu_si128((__m128i *)p, _mm512_cvtepi32_epi8((__m512i)v));
#elif LANES == 8
    const __m256i low = _mm256_set1_epi32(0x0C080400);
    const __m256i bytes = _mm256_shuffle_epi8((__m256i)v, low);     /* four in each half */
    _mm_storel_epi64((__m128i *)p, _mm_unpacklo_epi32(
        _mm256_castsi256_si128(bytes), _mm256_extracti128_si256(bytes, 1)));
#else
    *(bvec *)p = __builtin_convertvector(v, bvec);
#endif
}

/* v where the mask is all ones, 0 where it is all zeros. */
INLINE vec keep(ivec mask, vec v) { return (vec)((ivec)v & mask); }
INLINE vec choose(ivec mask, vec yes, vec no)
{
    return (vec)(((ivec)yes & mask) | ((ivec)no & ~mask));
}

/* a where a > b, else b: b where one of them is NaN. */
INLINE vec maximum(vec a, vec b)
{
#if LANES == 16
    return (vec)_mm512_max_ps((__m512)a, (__m512)b);
#elif LANES == 8
    return (vec)_mm256_max_ps((__m256)a, (__m256)b);
#else
    return choose(a > b, a, b);
#endif
}

INLINE dvec widened(vec v) { return __builtin_convertvector(v, dvec); }
INLINE vec narrowed(dvec v) { return __builtin_convertvector(v, vec); }

/* The first lane of a mask that is all ones; LANES where there is none. */
INLINE int first_lane(ivec mask)
{
#if LANES == 16
    return __builtin_ctz(_mm512_movepi32_mask((__m512i)mask) | 1u << LANES);
#elif LANES == 8
    return __builtin_ctz(_mm256_movemask_ps((__m256)mask) | 1u << LANES);
#else
    int lane = 0;
    while (lane < LANES && !mask[lane])
        lane++;
    return lane;
#endif
}

/* 0 where gate <= 0, else v: ReLU and its derivative, written so that NaN is passed on. */
INLINE vec gated(vec v, vec gate) { return (vec)((ivec)v & ~(ivec)(gate <= splat(0.0f))); }

/* transpose: v[i][j] <-> v[j][i].
 * lane_sums: lane i of the result is the sum of the lanes of v[i], as a binary tree of fixed shape;
 * overwrites v. */
#if LANES == 8
/* AVX2 shuffles within the halves of vectors, so halves are exchanged last, and only once. */
INLINE void transpose(vec v[LANES])
{
    __m256 pairs[LANES];
    UNROLL
    for (int i = 0; i < LANES; i += 2) {
        pairs[i] = _mm256_unpacklo_ps((__m256)v[i], (__m256)v[i + 1]);
        pairs[i + 1] = _mm256_unpackhi_ps((__m256)v[i], (__m256)v[i + 1]);
    }
    UNROLL
    for (int i = 0; i < LANES / 2; i++) {       /* column i of rows 0-3 and of rows 4-7 */
        const int first = i / 2, upper = i % 2;
        const __m256d a = (__m256d)pairs[first], b = (__m256d)pairs[first + 2];
        const __m256d c = (__m256d)pairs[first + 4], d = (__m256d)pairs[first + 6];
        const __m256 above = (__m256)(upper ? _mm256_unpackhi_pd(a, b) : _mm256_unpacklo_pd(a, b));
        const __m256 below = (__m256)(upper ? _mm256_unpackhi_pd(c, d) : _mm256_unpacklo_pd(c, d));
        v[i] = (vec)_mm256_permute2f128_ps(above, below, 0x20);
        v[i + 4] = (vec)_mm256_permute2f128_ps(above, below, 0x31);
    }
}

INLINE vec lane_sums(vec v[LANES])
{
    __m256 four[2];                             /* sums over each half, of four vectors */
    UNROLL
    for (int i = 0; i < LANES; i += 2)
        v[i] = (vec)_mm256_unpacklo_ps((__m256)v[i], (__m256)v[i + 1])
            + (vec)_mm256_unpackhi_ps((__m256)v[i], (__m256)v[i + 1]);
    UNROLL
    for (int i = 0; i < 2; i++) {
        const __m256d a = (__m256d)v[4 * i], b = (__m256d)v[4 * i + 2];
        four[i] = (__m256)_mm256_unpacklo_pd(a, b) + (__m256)_mm256_unpackhi_pd(a, b);
    }
    return (vec)_mm256_permute2f128_ps(four[0], four[1], 0x20)
        + (vec)_mm256_permute2f128_ps(four[0], four[1], 0x31);
}
#else
#if LANES == 16
#define LOW(a, b) __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
#define HIGH(a, b) \
    __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)
#else
#define LOW(a, b) __builtin_shufflevector(a, b, 0, 4, 1, 5)
#define HIGH(a, b) __builtin_shufflevector(a, b, 2, 6, 3, 7)
#endif

INLINE void shuffle_round(vec v[LANES])
{
    vec w[LANES];
    UNROLL
    for (int i = 0; i < LANES / 2; i++) {
        w[2 * i] = LOW(v[i], v[i + LANES / 2]);
        w[2 * i + 1] = HIGH(v[i], v[i + LANES / 2]);
    }
    UNROLL
    for (int i = 0; i < LANES; i++)
        v[i] = w[i];
}

/* Each round is a perfect shuffle, which rotates the bits of the address (i, j) by one; log2(LANES)
 * rounds exchange i and j. Here and below they are written out, since a loop of them would keep v in
 * memory. */
INLINE void transpose(vec v[LANES])
{
    shuffle_round(v);
    shuffle_round(v);
    if (LANES > 4) {
        shuffle_round(v);
        shuffle_round(v);
    }
}

/* v[i] becomes the sums of v[i] and of v[i + half], half as many lanes for each. */
INLINE void sum_round(vec *v, const int half)
{
    UNROLL
    for (int i = 0; i < half; i++)
        v[i] = LOW(v[i], v[i + half]) + HIGH(v[i], v[i + half]);
}

INLINE vec lane_sums(vec v[LANES])
{
    if (LANES > 4) {
        sum_round(v, 8);
        sum_round(v, 4);
    }
    sum_round(v, 2);
    sum_round(v, 1);
    return v[0];
}
#endif

/* Up to LANES rows of up to LANES values, `row` apart, as columns: lane l of v[i] is value i of row l.
 * By itself, since a loop around it would keep the addresses of all rows in memory. */
static __attribute__((noinline)) void load_columns(
    const float *from, ptrdiff_t row, ptrdiff_t rows, ptrdiff_t count, vec v[LANES])
{
    vec block[LANES];
    UNROLL
    for (int l = 0; l < LANES; l++)
        block[l] = l < rows ? load_some(from + l * row, count) : splat(0.0f);
    transpose(block);
    UNROLL
    for (int i = 0; i < LANES; i++)
        v[i] = block[i];
}

/* The first of them. */
INLINE vec load_column(const float *from, ptrdiff_t row, ptrdiff_t rows)
{
    vec v = splat(0.0f);
    if (rows < LANES) {
        for (ptrdiff_t l = 0; l < rows; l++)
            v[l] = from[l * row];
        return v;
    }
    UNROLL
    for (int l = 0; l < LANES; l++)
        v[l] = from[l * row];
    return v;
}

/* Adds `count` vectors to four sums, of which no one waits for the one before it. */
INLINE void add_vectors(vec sum[4], const float *from, ptrdiff_t count)
{
    ptrdiff_t at = 0;
    for (; at + 4 <= count; at += 4) {
        UNROLL
        for (int i = 0; i < 4; i++)
            sum[i] += load(from + (at + i) * LANES);
    }
    for (; at < count; at++)
        sum[0] += load(from + at * LANES);
}

/* to[i] = the sum of the lanes of vector i. */
INLINE void store_lane_sums(float *to, const float *vectors, ptrdiff_t count)
{
    for (ptrdiff_t first = 0; first < count; first += LANES) {
        vec block[LANES];
        UNROLL
        for (int i = 0; i < LANES; i++)
            block[i] = first + i < count ? load(vectors + (first + i) * LANES) : splat(0.0f);
        store_some(to + first, lane_sums(block), count - first < LANES ? count - first : LANES);
    }
}

#endif
