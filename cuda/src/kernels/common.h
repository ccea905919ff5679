// Common definitions of all kernels. The sources use the common subset of CUDA C and C: NVRTC compiles them for a GPU and, in tests, a C
// compiler compiles them for the CPU (`twin/shim.h` defines CUDA's built-ins there).
//
// `fmaf` rounds a product and a sum once. Everywhere else both are rounded: neither compiler may contract them.

#ifndef TWIN
#define KERNEL extern "C" __global__ void
#define DEVICE static __device__ __forceinline__
#define SHARED __shared__
#endif

// A bfloat16 value: the upper half of a `float`.
typedef unsigned short bits16;

// Precision of the factors of a product: as they are, rounded to 10 mantissa bits, or bfloat16.
#define F32 0
#define TF32 1
#define BF16 2

// Loops over the elements of a thread. The results do not depend on the grid.
#define FOR_EACH(i, n)                                                                                                 \
    for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < (unsigned)(n); i += gridDim.x * blockDim.x)

// Channels and rows of the blocks that add up partial sums. `ops::norm` launches LANES × ROWS threads per block.
#define LANES 16
#define ROWS 16

DEVICE float widened(bits16 value) { return __uint_as_float((unsigned)value << 16); }

// Rounds to bfloat16, to nearest, ties to even. NaN stays NaN.
DEVICE bits16 narrowed(float x) {
    unsigned bits = __float_as_uint(x);
    if (x != x) return (bits16)(bits >> 16 | 0x40);
    return (bits16)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

// Rounds to 10 mantissa bits, to nearest, ties away from zero.
DEVICE float in_tf32(float x) {
    if (x != x) return x;
    return __uint_as_float((__float_as_uint(x) + 0x1000) & ~0x1fffu);
}

// Reads the value at index `place` as a factor.
DEVICE float factor(const void* values, unsigned place, int precision) {
    if (precision == BF16) return widened(((const bits16*)values)[place]);
    float x = ((const float*)values)[place];
    return precision == TF32 ? in_tf32(x) : x;
}

// Writes the result of a product to index `place`.
DEVICE void store(void* values, unsigned place, float x, int precision) {
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

// max(x, 0); NaN stays NaN.
DEVICE float rectified(float x) { return x < 0.0f ? 0.0f : x; }

// A stored value as it is read: scaled, shifted and rectified.
DEVICE float as_read(float x, const float* scale, const float* shift, int rectify, int channel) {
    float value = shifted(x, scale, shift, channel);
    return rectify ? rectified(value) : value;
}

// The part of the gradient d with respect to a value as it is read that rectification passes: d or 0.
DEVICE float passed_gradient(float d, float x, const float* scale, const float* shift, int rectify, int channel) {
    return !rectify || shifted(x, scale, shift, channel) > 0.0f ? d : 0.0f;
}

#define NOT_A_NUMBER sqrtf(-1.0f)

// Position in a random stream in device memory: eight words of ChaCha's key, then low and high word of the number of values drawn so far.
// A value takes two words of ChaCha's output.
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

// One block of ChaCha with eight rounds, a 64-bit counter and stream 0 (Bernstein 2008).
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

// Random value j of the eight in a block, times 2⁵³.
DEVICE unsigned long long fraction(const unsigned* words, int j) {
    return ((unsigned long long)words[2 * j + 1] << 32 | words[2 * j]) >> 11;
}
