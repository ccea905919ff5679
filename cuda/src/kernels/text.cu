// Operations of text networks: embeddings, concatenation of channels, and tanh. Tokens are `float` numbers, which represent their indices
// exactly.
//
// The gradient of a token's vector is the sum of the gradients at the token's positions: first within chunks of positions, then over the
// chunks, always in order. The thread of a token's first position adds up; nothing is added with atomics.

// tanh x, bit for bit as the crate `kernels` computes it: e^(−2|x|) = 2^power e^rest.
DEVICE float tangent(float x) {
    double wide = (double)x, size = fabs(wide);
    if (size < 1e-3) return (float)(wide * (1.0 - wide * wide / 3.0));
    if (size > 10.0) return x < 0.0f ? -1.0f : 1.0f;
    if (x != x) return x;
    double exponent = -2.0 * size;
    int power = (int)(exponent * 1.4426950408889634 - 0.5);
    double rest = exponent - (double)power * 0.6931471803691238 - (double)power * 1.9082149292705877e-10;
    double series = 0.0;
    series = (series + 1.0 / 39916800.0) * rest;
    series = (series + 1.0 / 3628800.0) * rest;
    series = (series + 1.0 / 362880.0) * rest;
    series = (series + 1.0 / 40320.0) * rest;
    series = (series + 1.0 / 5040.0) * rest;
    series = (series + 1.0 / 720.0) * rest;
    series = (series + 1.0 / 120.0) * rest;
    series = (series + 1.0 / 24.0) * rest;
    series = (series + 1.0 / 6.0) * rest;
    series = (series + 0.5) * rest;
    double e = ldexp((series + 1.0) * rest + 1.0, power);
    double y = (1.0 - e) / (1.0 + e);
    return (float)(wide < 0.0 ? -y : y);
}

// y = tanh x, with x as it is read.
KERNEL tangents(const float* x, const float* scale, const float* shift, int rectify, float* y, int n, int channels) {
    FOR_EACH(i, n) { y[i] = tangent(as_read(x[i], scale, shift, rectify, i % channels)); }
}

// The gradient of `tangents`. `add` adds it to `total`.
KERNEL tangents_gradient(const float* gradient, const float* y, float* total, int add, int n) {
    FOR_EACH(i, n) {
        float d = gradient[i] * (1.0f - y[i] * y[i]);
        total[i] = add ? total[i] + d : d;
    }
}

// Copies the first `real` of a value's channels to a wider value, from channel `start` on. n = pixels × from_channels.
KERNEL place_channels(const float* x, const float* scale, const float* shift, int rectify, float* y, int n,
                      int from_channels, int real, int channels, int start) {
    FOR_EACH(i, n) {
        int channel = i % from_channels;
        if (channel < real) {
            y[i / from_channels * channels + start + channel] = as_read(x[i], scale, shift, rectify, channel);
        }
    }
}

// The gradient of `place_channels`. `add` adds it to `total`.
KERNEL place_channels_gradient(const float* gradient, float* total, int add, int n, int from_channels, int real,
                               int channels, int start) {
    FOR_EACH(i, n) {
        int channel = i % from_channels;
        float d = channel < real ? gradient[i / from_channels * channels + start + channel] : 0.0f;
        total[i] = add ? total[i] + d : d;
    }
}

// The vector of every token; NaN for a number outside the vocabulary. n = places × stored.
KERNEL embed(const float* tokens, const float* vectors, float* y, int n, int stored, int vocabulary) {
    FOR_EACH(i, n) {
        float token = tokens[i / stored];
        int is_one = token >= 0.0f && token < (float)vocabulary;
        y[i] = is_one ? vectors[(unsigned)token * stored + i % stored] : 0.0f / 0.0f;
    }
}

// For every position: whether an earlier position has the same token, and the first position in later chunks that has it, or -1:
// links[{occurs before, next}, place].
KERNEL embed_links(const float* tokens, int* links, int places, int chunk) {
    FOR_EACH(i, places) {
        int before = 0, next = -1;
        for (int other = 0; other < (int)i && !before; other++) before = tokens[other] == tokens[i];
        for (int other = (i / chunk + 1) * chunk; other < places && next < 0; other++) {
            if (tokens[other] == tokens[i]) next = other;
        }
        links[i] = before;
        links[places + i] = next;
    }
}

// The sum over a chunk's positions with the same token, stored at the first of them: partial[place, channel].
KERNEL embed_chunks(const float* tokens, const float* gradient, float* partial, int n, int stored, int places,
                    int chunk) {
    FOR_EACH(i, n) {
        int place = i / stored, start = place / chunk * chunk;
        int end = start + chunk < places ? start + chunk : places, before = 0;
        for (int other = start; other < place && !before; other++) before = tokens[other] == tokens[place];
        if (before) continue;
        float sum = gradient[i];
        for (int other = place + 1; other < end; other++) {
            if (tokens[other] == tokens[place]) sum += gradient[(unsigned)other * stored + i % stored];
        }
        partial[i] = sum;
    }
}

// The gradient of the vectors of all tokens that occur; other vectors keep their values. n = places × stored.
KERNEL embed_gradient(const float* tokens, const int* links, const float* partial, float* total, int n, int stored,
                      int places, int vocabulary) {
    FOR_EACH(i, n) {
        int place = i / stored;
        float token = tokens[place];
        if (links[place] || !(token >= 0.0f && token < (float)vocabulary)) continue;
        float sum = partial[i];
        for (int next = links[places + place]; next >= 0; next = links[places + next]) {
            sum += partial[(unsigned)next * stored + i % stored];
        }
        total[(unsigned)token * stored + i % stored] = sum;
    }
}

// Sets all values to zero.
KERNEL clear(float* values, int n) {
    FOR_EACH(i, n) { values[i] = 0.0f; }
}
