// Inputs from a data set that lies on the device, and the random words that a step takes.

// Where place i of a row or a column comes from, {first, step, from, to}: first + step · i for from ≤ i < to, and nowhere else.
DEVICE int origin(const int* axis, int i) { return i >= axis[2] && i < axis[3] ? axis[0] + axis[1] * i : -1; }

// Images of bytes, channels × height × width each, as NHWC: a table of 256 inputs a channel, less `centre`, a value a pixel, where there
// is one; moved as `moves` says, where it says anything: the axis of the rows and that of the columns, for each sample. What comes from
// nowhere is 0. NaN where there is no such sample. n = samples × height × width × channels, of a data set of `count`.
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

// Tokens as they are, `length` a sample: n = samples × length.
KERNEL gather_tokens(const int* tokens, const int* samples, float* to, int n, int count, int length) {
    FOR_EACH(i, n) {
        int sample = samples[i / length];
        unsigned long long start = (unsigned long long)sample * (unsigned)length;
        to[i] = sample >= 0 && sample < count ? (float)tokens[start + i % length] : NOT_A_NUMBER;
    }
}

// Dropout's masks: zero where a number in 0..1 is below the share, `kept` elsewhere; the share as high and low word of share · 2⁵³. One
// number a value of the network, in the order of samples, channels and pixels, from number `before` of the step's on. Channels that are
// stored and are not the network's keep what stands there. n = samples × channels × pixels.
KERNEL dropout_mask(const int* stream, float* mask, int n, int before, int high, int low, float kept, int channels,
                    int pixels, int stored) {
    unsigned long long first = stream_start(stream) + (unsigned)before;
    unsigned long long share = (unsigned long long)(unsigned)high << 32 | (unsigned)low;
    int skipped = first % 8;
    // A thread makes a block of the stream, which has eight numbers.
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
