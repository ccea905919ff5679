// Inputs gathered from a data set in device memory, and dropout masks.

// Index of the input row or column for output index i, with axis = {first, step, from, to}: first + step · i for from ≤ i < to, else −1.
DEVICE int origin(const int* axis, int i) { return i >= axis[2] && i < axis[3] ? axis[0] + axis[1] * i : -1; }

// Images of channels × height × width bytes, gathered as NHWC. `table` has the input for each byte, 256 per channel. `centre`, if given,
// has a value per pixel and channel to subtract. `moves`, if given, has per sample the axis of the rows and the axis of the columns;
// pixels from outside are 0. An invalid sample or pixel reads as NaN. n = samples × height × width × channels; the data set has `count`
// images.
KERNEL gather(const unsigned char* pixels, const float* table, const float* centre, const int* samples,
              const int* moves, float* to, int n, int count, int channels, int height, int width) {
    FOR_EACH(i, n) {
        int channel = i % channels, column = i / channels % width, row = i / channels / width % height;
        unsigned place = i / channels / width / height;
        int sample = samples[place];
        if (moves) {
            row = origin(moves + 8 * place, row);
            column = origin(moves + 8 * place + 4, column);
        }
        float value = 0.0f;
        if (row >= 0 && column >= 0) {
            unsigned at = (channel * height + row) * width + column;
            int there = sample >= 0 && sample < count && row < height && column < width;
            value = NOT_A_NUMBER;
            if (there) {
                unsigned long long start = (unsigned long long)sample * (unsigned)(channels * height * width);
                value = table[256 * channel + pixels[start + at]];
                if (centre) value -= centre[at];
            }
        }
        to[i] = value;
    }
}

// Tokens, `length` per sample. n = samples × length.
KERNEL gather_tokens(const int* tokens, const int* samples, float* to, int n, int count, int length) {
    FOR_EACH(i, n) {
        int sample = samples[i / length];
        unsigned long long start = (unsigned long long)sample * (unsigned)length;
        to[i] = sample >= 0 && sample < count ? (float)tokens[start + i % length] : NOT_A_NUMBER;
    }
}

// A dropout mask: zero where a random number in 0..1 is below the share, otherwise `kept`. `high` and `low` are the words of
// ⌈share · 2⁵³⌉. Values take one random number each, in the order of samples, channels and pixels, starting at number `before` of the step.
// Padding channels keep their values. n = samples × channels × pixels.
KERNEL dropout_mask(const int* stream, float* mask, int n, int before, int high, int low, float kept, int channels,
                    int pixels, int stored) {
    unsigned long long first = stream_start(stream) + (unsigned)before;
    unsigned long long share = (unsigned long long)(unsigned)high << 32 | (unsigned)low;
    int skipped = first % 8;
    // Each thread computes blocks of the stream, eight numbers each.
    FOR_EACH(i, (n + 14) / 8) {
        unsigned words[16];
        chacha(stream, first / 8 + i, words);
        for (int j = 0; j < 8; j++) {
            int number = (int)(8 * i) + j - skipped;
            if (number < 0 || number >= n) continue;
            int pixel = number % pixels, channel = number / pixels % channels, sample = number / pixels / channels;
            mask[(sample * pixels + pixel) * stored + channel] = fraction(words, j) < share ? 0.0f : kept;
        }
    }
}
