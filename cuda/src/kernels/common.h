// What every kernel has at hand. The sources keep to what CUDA C and C have in common: the same text is compiled for a GPU by NVRTC
// and, for tests, for the processor by a C compiler (`twin/shim.h` then says what the words below mean).
//
// Products and their sums are rounded once where `fmaf` says so and nowhere else: both compilers are told to join none by themselves.

#ifndef TWIN
#define KERNEL extern "C" __global__ void
#define DEVICE static __device__ __forceinline__
#define SHARED __shared__
#endif

// A value of 16 bits: the upper half of a `float`.
typedef unsigned short bits16;

// What factors of a product are: as they are, rounded to 10 bits after the leading one, or of 16 bits.
#define F32 0
#define TF32 1
#define BF16 2

// The elements that a thread works on: any number of blocks and threads gives the same values.
#define FOR_EACH(i, n)                                                                                                 \
    for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < (unsigned)(n); i += gridDim.x * blockDim.x)

// Channels and rows of a block that adds up what chunks left: `ops::norm` launches as many threads.
#define LANES 16
#define ROWS 16

DEVICE float widened(bits16 value) { return __uint_as_float((unsigned)value << 16); }

// To nearest, ties to even. NaN stays NaN.
DEVICE bits16 narrowed(float x) {
    unsigned bits = __float_as_uint(x);
    if (x != x) return (bits16)(bits >> 16 | 0x40);
    return (bits16)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

// To 10 bits after the leading one, to nearest, ties away from zero.
DEVICE float in_tf32(float x) {
    if (x != x) return x;
    return __uint_as_float((__float_as_uint(x) + 0x1000) & ~0x1fffu);
}

// Value number `place` as a factor.
DEVICE float factor(const void* values, unsigned place, int precision) {
    if (precision == BF16) return widened(((const bits16*)values)[place]);
    float x = ((const float*)values)[place];
    return precision == TF32 ? in_tf32(x) : x;
}

// Value number `place` is what came of a product.
DEVICE void put(void* values, unsigned place, float x, int precision) {
    if (precision == BF16) {
        ((bits16*)values)[place] = narrowed(x);
    } else {
        ((float*)values)[place] = x;
    }
}

// A stored value before rectification: x, x + shift, or scale · x + shift.
DEVICE float shifted(float x, const float* scale, const float* shift, int channel) {
    if (scale) return fmaf(x, scale[channel], shift[channel]);
    return shift ? x + shift[channel] : x;
}

// max(x, 0), NaN where x is.
DEVICE float rectified(float x) { return x < 0.0f ? 0.0f : x; }

// A stored value as its readers see it.
DEVICE float seen(float x, const float* scale, const float* shift, int rectify, int channel) {
    float value = shifted(x, scale, shift, channel);
    return rectify ? rectified(value) : value;
}

// The gradient d with respect to what is seen, as far as rectification lets it through.
DEVICE float let_through(float d, float x, const float* scale, const float* shift, int rectify, int channel) {
    return !rectify || shifted(x, scale, shift, channel) > 0.0f ? d : 0.0f;
}

#define NOT_A_NUMBER sqrtf(-1.0f)

// A stream of random numbers in the device's memory: eight words of ChaCha's key, and low and high word of how many numbers have been
// taken from it. (A number takes two words of the stream.)
DEVICE unsigned long long stream_start(const int* stream) {
    return (unsigned long long)(unsigned)stream[9] << 32 | (unsigned)stream[8];
}

DEVICE unsigned rotated(unsigned word, int by) { return word << by | word >> (32 - by); }

DEVICE void quarter(unsigned* words, int a, int b, int c, int d) {
    words[a] += words[b];
    words[d] = rotated(words[d] ^ words[a], 16);
    words[c] += words[d];
    words[b] = rotated(words[b] ^ words[c], 12);
    words[a] += words[b];
    words[d] = rotated(words[d] ^ words[a], 8);
    words[c] += words[d];
    words[b] = rotated(words[b] ^ words[c], 7);
}

// A block of ChaCha with eight rounds, a counter of 64 bits and stream 0 (Bernstein 2008).
DEVICE void chacha(const int* key, unsigned long long block, unsigned* words) {
    unsigned start[16] = {0x61707865u, 0x3320646eu, 0x79622d32u, 0x6b206574u};
    for (int i = 0; i < 8; i++) start[4 + i] = (unsigned)key[i];
    start[12] = (unsigned)block;
    start[13] = (unsigned)(block >> 32);
    for (int i = 0; i < 16; i++) words[i] = start[i];
    for (int twice = 0; twice < 4; twice++) {
        for (int i = 0; i < 4; i++) quarter(words, i, i + 4, i + 8, i + 12);
        for (int i = 0; i < 4; i++) quarter(words, i, (i + 1) % 4 + 4, (i + 2) % 4 + 8, (i + 3) % 4 + 12);
    }
    for (int i = 0; i < 16; i++) words[i] += start[i];
}

// Number j of a block's eight, times 2⁵³.
DEVICE unsigned long long fraction(const unsigned* words, int j) {
    return ((unsigned long long)words[2 * j + 1] << 32 | words[2 * j]) >> 11;
}
