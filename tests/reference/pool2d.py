"""Max, average and global average pooling, as torch.nn.functional.

Each output pixel owns a window; both kinds visit the windows one by one, so that the rules
at the border can be read off.
"""

import numpy as np


def pool_output_size(size, kernel, stride, padding, ceil_mode=False):
    """Length of one output axis; ceil mode leaves out a window that starts in the end padding."""
    span = size + 2 * padding - kernel
    if not ceil_mode:
        return span // stride + 1
    length = -(-span // stride) + 1
    return length - 1 if (length - 1) * stride >= size + padding else length


def max_pool2d_forward(x, kernel, stride, padding=(0, 0), output_size=None):
    """x (N, C, H, W) -> y (N, C, OH, OW) and int32 indices, h·W + w of each winner.

    The padding never wins. Of equal maxima the first in row-major order wins; a NaN beats
    every number, and of several NaN the first wins.
    """
    x = np.asarray(x, np.float64)
    size = output_size or _floor_size(x, kernel, stride, padding)
    y = np.full((*x.shape[:2], *size), -np.inf)
    indices = np.full(y.shape, -1, np.int32)
    for oh, ow in np.ndindex(*size):
        rows = _clipped(oh, kernel[0], stride[0], padding[0], x.shape[2])
        columns = _clipped(ow, kernel[1], stride[1], padding[1], x.shape[3])
        for h in rows:
            for w in columns:
                value, best = x[:, :, h, w], y[:, :, oh, ow]
                wins = (
                    (indices[:, :, oh, ow] < 0)
                    | (value > best)
                    | (np.isnan(value) & ~np.isnan(best))
                )
                y[:, :, oh, ow] = np.where(wins, value, best)
                indices[:, :, oh, ow][wins] = h * x.shape[3] + w
    return y, indices


def max_pool2d_backward(dy, indices, input_size):
    """dx (N, C, H, W): each dy is added at its winner; overlapping windows add up."""
    dy = np.asarray(dy, np.float64)
    height, width = input_size
    dx = np.zeros((*dy.shape[:2], height * width))
    for n, c, oh, ow in np.ndindex(dy.shape):
        dx[n, c, indices[n, c, oh, ow]] += dy[n, c, oh, ow]
    return dx.reshape(*dy.shape[:2], height, width)


def avg_pool2d_forward(x, kernel, stride, padding=(0, 0), count_include_pad=True, output_size=None):
    """x (N, C, H, W) -> y (N, C, OH, OW): the sum of a window divided by its pixel count.

    With `count_include_pad` the count includes the padding, but nothing beyond it: a window
    that ceil mode lets stick out is cut at the end of the padding.
    """
    x = np.asarray(x, np.float64)
    size = output_size or _floor_size(x, kernel, stride, padding)
    y = np.zeros((*x.shape[:2], *size))
    for oh, ow in np.ndindex(*size):
        rows, columns, count = _avg_window(
            oh, ow, x.shape[2:], kernel, stride, padding, count_include_pad
        )
        y[:, :, oh, ow] = x[:, :, rows][:, :, :, columns].sum(axis=(2, 3)) / count
    return y


def avg_pool2d_backward(dy, input_size, kernel, stride, padding=(0, 0), count_include_pad=True):
    """dx (N, C, H, W) for dy (N, C, OH, OW)."""
    dy = np.asarray(dy, np.float64)
    dx = np.zeros((*dy.shape[:2], *input_size))
    for oh, ow in np.ndindex(*dy.shape[2:]):
        rows, columns, count = _avg_window(
            oh, ow, input_size, kernel, stride, padding, count_include_pad
        )
        for h in rows:
            for w in columns:
                dx[:, :, h, w] += dy[:, :, oh, ow] / count
    return dx


def global_avg_pool_forward(x):
    """x (N, C, H, W) -> y (N, C, 1, 1)."""
    return np.asarray(x, np.float64).mean(axis=(2, 3), keepdims=True)


def global_avg_pool_backward(dy, input_size):
    """dx (N, C, H, W) for dy (N, C, 1, 1)."""
    height, width = input_size
    dy = np.asarray(dy, np.float64)
    return np.broadcast_to(dy / (height * width), (*dy.shape[:2], height, width)).copy()


def _floor_size(x, kernel, stride, padding):
    return tuple(pool_output_size(x.shape[2 + a], kernel[a], stride[a], padding[a]) for a in (0, 1))


def _clipped(at, kernel, stride, padding, size):
    """Pixels of window number `at` that lie inside the image."""
    start = at * stride - padding
    return range(max(start, 0), min(start + kernel, size))


def _avg_window(oh, ow, image, kernel, stride, padding, count_include_pad):
    """(rows, columns, divisor) of one window."""
    rows = _clipped(oh, kernel[0], stride[0], padding[0], image[0])
    columns = _clipped(ow, kernel[1], stride[1], padding[1], image[1])
    if not count_include_pad:
        return rows, columns, len(rows) * len(columns)
    count = 1
    for axis, at in enumerate((oh, ow)):
        start = at * stride[axis] - padding[axis]
        count *= min(start + kernel[axis], image[axis] + padding[axis]) - start
    return rows, columns, count
