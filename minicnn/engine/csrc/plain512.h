/* The AVX-512 instructions that the kernels call by name, in plain C: so that a machine without them
 * can run the kernels of sixteen lanes, slowly, in tests (`MINICNN_PLAIN_512` in setup.py).
 */
#ifndef MINICNN_PLAIN512_H
#define MINICNN_PLAIN512_H

#include <immintrin.h>
#include <string.h>

#define PLAIN static inline __attribute__((always_inline))

typedef float floats16 __attribute__((vector_size(64)));
typedef double doubles8 __attribute__((vector_size(64)));
typedef int integers16 __attribute__((vector_size(64)));
typedef unsigned long long words8 __attribute__((vector_size(64)));

PLAIN __m512 plain_maskz_loadu_ps(__mmask16 mask, const float *p)
{
    floats16 v = {0};
    for (int l = 0; l < 16; l++) {
        if (mask >> l & 1)
            v[l] = p[l];
    }
    return (__m512)v;
}

PLAIN void plain_mask_storeu_ps(float *p, __mmask16 mask, __m512 v)
{
    for (int l = 0; l < 16; l++) {
        if (mask >> l & 1)
            p[l] = ((floats16)v)[l];
    }
}

PLAIN __m512d plain_set1_pd(double s) { return (__m512d)(doubles8){s, s, s, s, s, s, s, s}; }

PLAIN __m512i plain_set1_epi32(int s)
{
    return (__m512i)(integers16){s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s};
}

/* b where the two are equal, or one is NaN: as the instruction. */
PLAIN __m512 plain_max_ps(__m512 a, __m512 b)
{
    const integers16 above = (floats16)a > (floats16)b;
    return (__m512)((above & (integers16)a) | (~above & (integers16)b));
}

PLAIN __m512 plain_permutex2var_ps(__m512 a, __m512i from, __m512 b)
{
    floats16 v;
    for (int l = 0; l < 16; l++) {
        const int i = ((integers16)from)[l];
        v[l] = ((floats16)(i & 16 ? b : a))[i & 15];
    }
    return (__m512)v;
}

PLAIN __m512i plain_mul_epu32(__m512i a, __m512i b)
{
    return (__m512i)(((words8)a & 0xFFFFFFFFu) * ((words8)b & 0xFFFFFFFFu));
}

PLAIN __m512i plain_cvtepu8_epi32(__m128i bytes)
{
    unsigned char each[16];
    integers16 v;
    memcpy(each, &bytes, sizeof each);
    for (int l = 0; l < 16; l++)
        v[l] = each[l];
    return (__m512i)v;
}

PLAIN __m128i plain_cvtepi32_epi8(__m512i v)
{
    unsigned char each[16];
    __m128i bytes;
    for (int l = 0; l < 16; l++)
        each[l] = (unsigned char)((integers16)v)[l];
    memcpy(&bytes, each, sizeof bytes);
    return bytes;
}

PLAIN unsigned plain_movepi32_mask(__m512i v)
{
    unsigned mask = 0;
    for (int l = 0; l < 16; l++)
        mask |= (unsigned)(((integers16)v)[l] < 0) << l;
    return mask;
}

#define _mm512_maskz_loadu_ps plain_maskz_loadu_ps
#define _mm512_mask_storeu_ps plain_mask_storeu_ps
#define _mm512_set1_pd plain_set1_pd
#define _mm512_set1_epi32 plain_set1_epi32
#define _mm512_max_ps plain_max_ps
#define _mm512_permutex2var_ps plain_permutex2var_ps
#define _mm512_mul_epu32 plain_mul_epu32
#define _mm512_cvtepu8_epi32 plain_cvtepu8_epi32
#define _mm512_cvtepi32_epi8 plain_cvtepi32_epi8
#define _mm512_movepi32_mask plain_movepi32_mask

#endif
