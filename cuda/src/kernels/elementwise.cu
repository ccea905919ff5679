// Element-wise operations and changes of layout. Images are NHWC.

// Channels-first to channels-last: to[sample, pixel, channel] = from[sample, channel, pixel].
KERNEL arrange(const float* from, float* to, int n, int channels, int pixels) {
    FOR_EACH(i, n) {
        unsigned channel = i % channels, pixel = i / channels % pixels, sample = i / channels / pixels;
        to[i] = from[(sample * channels + channel) * pixels + pixel];
    }
}

// y = a or y = a + b, each as it is read; rectified if `rectify` is set.
KERNEL join(const float* a, const float* a_scale, const float* a_shift, int a_rectify, const float* b,
            const float* b_scale, const float* b_shift, int b_rectify, int rectify, float* y, int n, int channels) {
    FOR_EACH(i, n) {
        int channel = i % channels;
        float sum = as_read(a[i], a_scale, a_shift, a_rectify, channel);
        if (b) sum = sum + as_read(b[i], b_scale, b_shift, b_rectify, channel);
        y[i] = rectify ? rectified(sum) : sum;
    }
}

// Sets the gradient to zero wherever the output of a rectified join is 0.
KERNEL mask(const float* output, float* gradient, int n) {
    FOR_EACH(i, n) {
        if (!(output[i] > 0.0f)) gradient[i] = 0.0f;
    }
}

// total = values, or total += values.
KERNEL give(const float* values, float* total, int add, int n) {
    FOR_EACH(i, n) { total[i] = add ? total[i] + values[i] : values[i]; }
}

// The gradient d with respect to stored values x: the gradient g that rectification passes, or α g + β x + γ.
KERNEL apply(const float* gradient, const float* x, const float* scale, const float* shift, int rectify,
             const float* alpha, const float* beta, const float* gamma, float* d, int n, int channels) {
    FOR_EACH(i, n) {
        int channel = i % channels;
        float g = passed_gradient(gradient[i], x[i], scale, shift, rectify, channel);
        d[i] = alpha ? fmaf(g, alpha[channel], fmaf(x[i], beta[channel], gamma[channel])) : g;
    }
}

// y = x · mask, with x as it is read.
KERNEL drop(const float* x, const float* scale, const float* shift, int rectify, const float* mask, float* y, int n,
            int channels) {
    FOR_EACH(i, n) { y[i] = as_read(x[i], scale, shift, rectify, i % channels) * mask[i]; }
}

// The gradient of `drop` with respect to x. `add` adds it to `total`.
KERNEL drop_gradient(const float* gradient, const float* mask, float* total, int add, int n) {
    FOR_EACH(i, n) {
        float d = gradient[i] * mask[i];
        total[i] = add ? total[i] + d : d;
    }
}

// Every `stride`-th pixel, with the channels padded with zeros. n = samples × height × width × channels of the output.
KERNEL subsample(const float* x, const float* scale, const float* shift, int rectify, float* y, int n, int height,
                 int width, int channels, int from_height, int from_width, int from_channels, int stride) {
    FOR_EACH(i, n) {
        int channel = i % channels, column = i / channels % width, row = i / channels / width % height;
        unsigned sample = i / channels / width / height;
        unsigned origin = (sample * from_height + row * stride) * from_width + column * stride;
        y[i] = channel < from_channels
                   ? as_read(x[origin * from_channels + channel], scale, shift, rectify, channel)
                   : 0.0f;
    }
}

// The gradient of `subsample`. `add` adds it to `total`. n = samples × from_height × from_width × from_channels.
KERNEL subsample_gradient(const float* gradient, float* total, int add, int n, int height, int width, int channels,
                          int from_height, int from_width, int from_channels, int stride) {
    FOR_EACH(i, n) {
        int channel = i % from_channels, column = i / from_channels % from_width;
        int row = i / from_channels / from_width % from_height;
        unsigned sample = i / from_channels / from_width / from_height;
        int sampled = row % stride == 0 && column % stride == 0;
        unsigned pixel = (sample * height + row / stride) * width + column / stride;
        float d = sampled ? gradient[pixel * channels + channel] : 0.0f;
        total[i] = add ? total[i] + d : d;
    }
}

// Logits without their zero padding. n = samples × classes.
KERNEL gather_rows(const float* x, const float* scale, const float* shift, int rectify, float* y, int n, int classes,
                   int stored) {
    FOR_EACH(i, n) {
        int channel = i % classes;
        y[i] = as_read(x[i / classes * stored + channel], scale, shift, rectify, channel);
    }
}

// The inverse of `gather_rows`: pads rows with zeros. n = samples × stored.
KERNEL spread_rows(const float* from, float* to, int n, int classes, int stored) {
    FOR_EACH(i, n) {
        int channel = i % stored;
        to[i] = channel < classes ? from[i / stored * classes + channel] : 0.0f;
    }
}
