// Pooling. Each thread gathers the gradient of its own pixel: nothing is added with atomics, and a pixel in several windows adds up their
// gradients in order.

// The largest value of each window. `places` has the position of the first of them within the image (row × width + column). NaN only
// if the first value of the window is NaN. n = samples × height × width × channels of the output.
KERNEL max_pool(const float* x, const float* scale, const float* shift, int rectify, float* y, int* places, int n,
                int height, int width, int channels, int from_height, int from_width, int rows, int columns, int stride,
                int padding) {
    FOR_EACH(i, n) {
        int channel = i % channels, column = i / channels % width, row = i / channels / width % height;
        unsigned sample = i / channels / width / height;
        const float* image = x + sample * from_height * from_width * channels + channel;
        int top = row * stride - padding, left = column * stride - padding;
        int bottom = top + rows < from_height ? top + rows : from_height;
        int right = left + columns < from_width ? left + columns : from_width;
        top = top > 0 ? top : 0;
        left = left > 0 ? left : 0;
        int place = top * from_width + left;
        float best = as_read(image[place * channels], scale, shift, rectify, channel);
        for (int r = top; r < bottom; r++) {
            for (int c = left; c < right; c++) {
                float value = as_read(image[(r * from_width + c) * channels], scale, shift, rectify, channel);
                if (best < value) {
                    best = value;
                    place = r * from_width + c;
                }
            }
        }
        y[i] = best;
        places[i] = place;
    }
}

// The gradient of `max_pool`. `add` adds it to `total`. n = samples × from_height × from_width × channels.
KERNEL max_pool_gradient(const float* gradient, const int* places, float* total, int add, int n, int height, int width,
                         int channels, int from_height, int from_width, int rows, int columns, int stride,
                         int padding) {
    FOR_EACH(i, n) {
        int channel = i % channels, column = i / channels % from_width, row = i / channels / from_width % from_height;
        unsigned sample = i / channels / from_width / from_height;
        int own = row * from_width + column;
        // The windows that cover the pixel.
        int down = row + padding, across = column + padding;
        int first_row = down < rows ? 0 : (down - rows) / stride + 1;
        int first_column = across < columns ? 0 : (across - columns) / stride + 1;
        int last_row = down / stride < height - 1 ? down / stride : height - 1;
        int last_column = across / stride < width - 1 ? across / stride : width - 1;
        float sum = add ? total[i] : 0.0f;
        for (int r = first_row; r <= last_row; r++) {
            for (int c = first_column; c <= last_column; c++) {
                unsigned window = ((sample * height + r) * width + c) * channels + channel;
                if (places[window] == own) sum += gradient[window];
            }
        }
        total[i] = sum;
    }
}

// The mean of every channel of an image. n = samples × channels.
KERNEL average(const float* x, const float* scale, const float* shift, int rectify, float* y, int n, int channels,
               int pixels, float share) {
    FOR_EACH(i, n) {
        int channel = i % channels;
        const float* image = x + i / channels * pixels * channels + channel;
        float sum = 0.0f;
        for (int pixel = 0; pixel < pixels; pixel++) {
            sum += as_read(image[pixel * channels], scale, shift, rectify, channel);
        }
        y[i] = sum * share;
    }
}

// The gradient of `average`. `add` adds it to `total`. n = samples × pixels × channels.
KERNEL average_gradient(const float* gradient, float* total, int add, int n, int channels, int pixels, float share) {
    FOR_EACH(i, n) {
        float d = gradient[i / channels / pixels * channels + i % channels] * share;
        total[i] = add ? total[i] + d : d;
    }
}
