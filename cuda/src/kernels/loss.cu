// Losses on logits in double precision, one thread per row. They compute what core's losses compute, with sums in the same order. Each
// row stores its own value, and one thread adds up the rows. A row with an invalid sample or label has the value NaN.
//
// Common parameters: `logits` and `gradient`, n × classes; `labels` of the `count` samples of the training set; `samples`, the indices of
// the batch; `values`, one per row.

#define LARGEST 1.7976931348623157e308

DEVICE double with_offset(const float* z, const double* offset, int j) {
    return offset ? (double)z[j] + offset[j] : (double)z[j];
}

// ln Σ exp(z_j + offset_j) over all j but `without`; `offset` is optional. NaN if the largest term is not finite.
DEVICE double log_sum_exp(const float* z, const double* offset, int classes, int without) {
    double most = with_offset(z, offset, without == 0 ? 1 : 0), sum = 0.0;
    for (int j = 0; j < classes; j++) {
        if (j != without) most = fmax(most, with_offset(z, offset, j));
    }
    if (!(fabs(most) <= LARGEST)) return most - most;
    for (int j = 0; j < classes; j++) {
        if (j != without) sum += exp(with_offset(z, offset, j) - most);
    }
    return most + log(sum);
}

// The given label of a row; −1 if it has none.
DEVICE int label_of(const int* labels, const int* samples, int row, int classes, int count) {
    int sample = samples[row];
    int label = sample >= 0 && sample < count ? labels[sample] : -1;
    return label < classes ? label : -1;
}

DEVICE void write_nan(double* value, float* gradient, int classes) {
    *value = sqrt(-1.0);
    for (int j = 0; j < classes; j++) gradient[j] = NOT_A_NUMBER;
}

DEVICE int largest(const float* z, int classes) {
    int best = 0;
    for (int j = 1; j < classes; j++) {
        if (z[j] > z[best]) best = j;
    }
    return best;
}

// gradient = weight · scale · (p − e_y), where 1 − p_y is computed as the sum of the other p_j.
DEVICE void scaled(const float* z, double normaliser, int label, double weight, double scale, float* gradient,
                   int classes) {
    double others = 0.0;
    for (int j = 0; j < classes; j++) {
        if (j == label) continue;
        double p = exp((double)z[j] - normaliser);
        others += p;
        gradient[j] = (float)(weight * scale * p);
    }
    gradient[label] = (float)(-weight * scale * others);
}

// α (−ln p_y) + β (1 − p_y^q)/q − bound; 0 for samples that `kept` excludes. parameters = {α, β, q, bound}. A term with factor 0 is left
// out even if it is not finite.
KERNEL loss_powers(const float* logits, const int* labels, const int* samples, const double* parameters,
                   const unsigned char* kept, double* values, float* gradient, int n, int classes, int count) {
    double alpha = parameters[0], beta = parameters[1], q = parameters[2], bound = parameters[3];
    FOR_EACH(i, n) {
        const float* z = logits + i * classes;
        float* g = gradient + i * classes;
        int label = label_of(labels, samples, i, classes, count);
        if (label < 0) {
            write_nan(values + i, g, classes);
        } else if (kept && !kept[samples[i]]) {
            values[i] = 0.0;
            for (int j = 0; j < classes; j++) g[j] = 0.0f;
        } else {
            double normaliser = log_sum_exp(z, 0, classes, -1), log_p = (double)z[label] - normaliser;
            double value = 0.0, scale = 0.0;
            if (alpha != 0.0) {
                value = alpha * -log_p;
                scale = alpha;
            }
            if (beta != 0.0) {
                value += beta * (-expm1(q * log_p) / q);
                scale += beta * exp(q * log_p);
            }
            values[i] = value - bound;
            scaled(z, normaliser, label, 1.0 / (double)n, scale, g, classes);
        }
    }
}

// ‖p − e_y‖².
KERNEL loss_squares(const float* logits, const int* labels, const int* samples, double* values, float* gradient, int n,
                    int classes, int count) {
    double weight = 1.0 / (double)n;
    FOR_EACH(i, n) {
        const float* z = logits + i * classes;
        float* g = gradient + i * classes;
        int label = label_of(labels, samples, i, classes, count), top = largest(z, classes);
        if (label < 0) {
            write_nan(values + i, g, classes);
            continue;
        }
        double normaliser = log_sum_exp(z, 0, classes, -1), others = 0.0, squares = 0.0, left = 0.0;
        for (int j = 0; j < classes; j++) {
            double p = exp((double)z[j] - normaliser);
            if (j == label) continue;
            others += p;
            squares += p * p;
        }
        double p_y = exp((double)z[label] - normaliser);
        for (int j = 0; j < classes; j++) {
            double p = exp((double)z[j] - normaliser);
            double bracket = j == label ? -others * others - squares : p - squares + p_y * others;
            double d = weight * 2.0 * p * bracket;
            if (j != top) left += d;
            g[j] = (float)d;
        }
        // A gradient sums to 0, so the largest entry is computed from the others, which loses fewer digits.
        g[top] = (float)-left;
        values[i] = squares + others * others;
    }
}

// −ln Σ p_i T_iy. `columns` is ln T, one column of T after the other.
KERNEL loss_forward(const float* logits, const int* labels, const int* samples, const double* columns, double* values,
                    float* gradient, int n, int classes, int count) {
    double weight = 1.0 / (double)n;
    FOR_EACH(i, n) {
        const float* z = logits + i * classes;
        float* g = gradient + i * classes;
        int label = label_of(labels, samples, i, classes, count), top = largest(z, classes), none = 1;
        if (label < 0) {
            write_nan(values + i, g, classes);
            continue;
        }
        const double* column = columns + label * classes;
        for (int j = 0; j < classes; j++) none = none && with_offset(z, column, j) < -LARGEST;
        double normaliser = log_sum_exp(z, 0, classes, -1), left = 0.0;
        // A label with probability 0 under every class carries no information about the class.
        const double* offset = none ? 0 : column;
        double evidence = log_sum_exp(z, offset, classes, -1);
        for (int j = 0; j < classes; j++) {
            double p = exp((double)z[j] - normaliser), r = exp(with_offset(z, offset, j) - evidence);
            double d = weight * (p - r);
            if (j != top) left += d;
            g[j] = (float)d;
        }
        g[top] = (float)-left;
        values[i] = normaliser - (none ? log(0.0 * weight) : evidence);
    }
}

// Row weights w = exp(T p_y (1 − p_y)), and MAE as the row values. parameters = {T, whether gradients are divided by Σ w}.
KERNEL loss_imae_weights(const float* logits, const int* labels, const int* samples, const double* parameters,
                         double* values, double* weights, int n, int classes, int count) {
    FOR_EACH(i, n) {
        const float* z = logits + i * classes;
        int label = label_of(labels, samples, i, classes, count);
        double log_p = label < 0 ? sqrt(-1.0) : (double)z[label] - log_sum_exp(z, 0, classes, -1);
        values[i] = -2.0 * expm1(log_p);
        weights[i] = exp(-parameters[0] * exp(log_p) * expm1(log_p));
    }
}

// ∂/∂z_y = −w/2 and ∂/∂z_j = w/2 · p_j/(1 − p_y), divided by the number of rows or by Σ w.
KERNEL loss_imae(const float* logits, const int* labels, const int* samples, const double* parameters,
                 const double* weights, float* gradient, int n, int classes, int count) {
    double sum = 0.0;
    for (int row = 0; row < n; row++) sum += weights[row];
    double divisor = parameters[1] != 0.0 ? sum : (double)n;
    FOR_EACH(i, n) {
        const float* z = logits + i * classes;
        float* g = gradient + i * classes;
        int label = label_of(labels, samples, i, classes, count);
        if (label < 0) {
            for (int j = 0; j < classes; j++) g[j] = NOT_A_NUMBER;
            continue;
        }
        double half = weights[i] / divisor / 2.0, others = log_sum_exp(z, 0, classes, label);
        for (int j = 0; j < classes; j++) g[j] = (float)(half * exp((double)z[j] - others));
        g[label] = (float)-half;
    }
}

// Stores the mean of the row values in slot slot[0]. n = 1 for a loss of a batch as a whole.
KERNEL loss_total(const double* values, const int* slot, double* losses, int n, int slots) {
    FOR_EACH(i, 1) {
        double sum = 0.0;
        for (int row = 0; row < n; row++) sum += values[row];
        if (slot[i] >= 0 && slot[i] < slots) losses[slot[i]] = sum * (1.0 / (double)n);
    }
}
