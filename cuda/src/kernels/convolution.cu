// Direct convolutions, used where cuDNN is missing or has no deterministic algorithm. Images are NHWC, kernels
// [output, row, column, input]. A linear layer is a convolution of images of one pixel.
//
// `precision` selects how factors are rounded. With bfloat16 factors the results are bfloat16 as well; sums are always `float`.
//
// Sums have one order: products are added up within pieces of a tap's channels (or within a row of pixels) first, then the pieces. This
// keeps the rounding error from growing with the length of the sum.
#define PIECE 64

// y = x ∗ w. n = samples × height × width × outputs.
KERNEL convolve(const void* x, const void* w, void* y, int precision, int n, int height, int width, int outputs,
                int from_height, int from_width, int inputs, int rows, int columns, int stride, int above, int left) {
    FOR_EACH(i, n) {
        int output = i % outputs, column = i / outputs % width, row = i / outputs / width % height;
        unsigned sample = i / outputs / width / height;
        unsigned image = sample * from_height * from_width * inputs;
        unsigned kernel = output * rows * columns * inputs;
        float sum = 0.0f;
        for (int r = 0; r < rows; r++) {
            int down = row * stride + r - above;
            if (down < 0 || down >= from_height) continue;
            for (int c = 0; c < columns; c++) {
                int across = column * stride + c - left;
                if (across < 0 || across >= from_width) continue;
                unsigned pixel = image + (down * from_width + across) * inputs;
                unsigned tap = kernel + (r * columns + c) * inputs;
                for (int start = 0; start < inputs; start += PIECE) {
                    int end = start + PIECE < inputs ? start + PIECE : inputs;
                    float part = 0.0f;
                    for (int input = start; input < end; input++) {
                        part = fmaf(factor(x, pixel + input, precision), factor(w, tap + input, precision), part);
                    }
                    sum += part;
                }
            }
        }
        store(y, i, sum, precision);
    }
}

// The gradient with respect to x. `add` adds it to `total` (never in bfloat16). n = samples × from_height × from_width × inputs.
KERNEL convolve_back(const void* d, const void* w, void* total, int precision, int add, int n, int height, int width, int outputs,
                     int from_height, int from_width, int inputs, int rows, int columns, int stride, int above,
                     int left) {
    FOR_EACH(i, n) {
        int input = i % inputs, column = i / inputs % from_width, row = i / inputs / from_width % from_height;
        unsigned sample = i / inputs / from_width / from_height;
        unsigned image = sample * height * width * outputs;
        int step = rows * columns * inputs;
        float sum = 0.0f;
        for (int r = 0; r < rows; r++) {
            int down = row + above - r;
            if (down < 0 || down % stride != 0 || down / stride >= height) continue;
            for (int c = 0; c < columns; c++) {
                int across = column + left - c;
                if (across < 0 || across % stride != 0 || across / stride >= width) continue;
                unsigned pixel = image + (down / stride * width + across / stride) * outputs;
                unsigned tap = (r * columns + c) * inputs + input;
                for (int start = 0; start < outputs; start += PIECE) {
                    int end = start + PIECE < outputs ? start + PIECE : outputs;
                    float part = 0.0f;
                    for (int output = start; output < end; output++) {
                        float of_w = factor(w, tap + output * step, precision);
                        part = fmaf(factor(d, pixel + output, precision), of_w, part);
                    }
                    sum += part;
                }
            }
        }
        store(total, i, add ? ((const float*)total)[i] + sum : sum, precision);
    }
}

// The gradient with respect to w of every chunk of rows of pixels: partial[chunk, n] with n = outputs × rows × columns × inputs. There are
// `lines` = samples × height rows of pixels, `chunk` of them per chunk. `sums` is the precision of the result.
KERNEL convolve_weights(const void* x, const void* d, void* partial, int precision, int sums, int n, int lines, int chunk, int height,
                        int width, int outputs, int from_height, int from_width, int inputs, int rows, int columns,
                        int stride, int above, int left) {
    unsigned chunks = (lines + chunk - 1) / chunk;
    FOR_EACH(i, chunks * n) {
        unsigned place = i % n, part = i / n;
        int input = place % inputs, c = place / inputs % columns, r = place / inputs / columns % rows;
        int output = place / inputs / columns / rows;
        int first = part * chunk, end = first + chunk < lines ? first + chunk : lines;
        float sum = 0.0f;
        for (int line = first; line < end; line++) {
            int down = line % height * stride + r - above;
            if (down < 0 || down >= from_height) continue;
            unsigned row = (unsigned)(line / height * from_height + down) * from_width * inputs + input;
            unsigned gradient = (unsigned)line * width * outputs + output;
            float of_line = 0.0f;
            for (int column = 0; column < width; column++) {
                int across = column * stride + c - left;
                if (across < 0 || across >= from_width) continue;
                float of_x = factor(x, row + across * inputs, precision);
                of_line = fmaf(of_x, factor(d, gradient + column * outputs, precision), of_line);
            }
            sum += of_line;
        }
        store(partial, i, sum, sums);
    }
}

// Adds up all chunks in order.
KERNEL sum_chunks(const float* partial, void* total, int precision, int n, int chunks) {
    FOR_EACH(i, n) {
        float sum = partial[i];
        for (int chunk = 1; chunk < chunks; chunk++) sum += partial[(unsigned)chunk * n + i];
        store(total, i, sum, precision);
    }
}
