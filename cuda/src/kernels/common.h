// What every kernel has at hand. The sources keep to what CUDA C and C have in common: the same text is compiled for a GPU by NVRTC
// and, for tests, for the processor by a C compiler (`twin/shim.h` then says what the words below mean).
//
// Products and their sums are rounded once where `fmaf` says so and nowhere else: both compilers are told to join none by themselves.

#ifndef TWIN
#define KERNEL extern "C" __global__ void
#define DEVICE static __device__ __forceinline__
#define SHARED __shared__
#endif

// The elements that a thread works on: any number of blocks and threads gives the same values.
#define FOR_EACH(i, n)                                                                                                 \
    for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < (unsigned)(n); i += gridDim.x * blockDim.x)

// Channels and rows of a block that adds up what chunks left: `ops::norm` launches as many threads.
#define LANES 16
#define ROWS 16

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
