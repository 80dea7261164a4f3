"""Two-dimensional cross-correlation, as torch.nn.functional.conv2d.

    y[n, k, oh, ow] = b[k] + Σ_{c, i, j} w[k, c, i, j] · x[n, c, oh·s + i·d - p, ow·s + j·d - p]

with x taken as 0 outside the image. The sum over kernel positions (i, j) is a loop; what
one position sees of the image is a strided window of the padded image.
"""

import numpy as np


def conv2d_output_size(size, kernel, stride, padding, dilation):
    """Length of one output axis under symmetric padding."""
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def conv2d_forward(
    x,
    weight,
    bias=None,
    *,
    stride=(1, 1),
    padding=(0, 0),
    dilation=(1, 1),
    groups=1,
    output_size=None,
):
    """x (N, C, H, W), weight (K, C/groups, kH, kW), bias (K,) or None -> y (N, K, OH, OW).

    `padding` is what is added at the top and at the left. As much is added at the bottom and
    at the right, unless `output_size` (OH, OW) is given: then as much as that size needs.
    """
    x, weight = np.asarray(x, np.float64), np.asarray(weight, np.float64)
    size = output_size or _symmetric_size(x, weight, stride, padding, dilation)
    padded = _pad(x, weight, size, stride, padding, dilation)
    y = np.zeros((x.shape[0], weight.shape[0], *size))
    for channels, filters in _groups(weight, groups):
        for i, j in np.ndindex(weight.shape[2:]):
            window = padded[:, channels][_window(i, j, size, stride, dilation)]
            y[:, filters] += np.einsum("nchw,kc->nkhw", window, weight[filters, :, i, j])
    return y if bias is None else y + np.asarray(bias, np.float64)[:, None, None]


def conv2d_backward(x, weight, dy, *, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1):
    """Gradients (dx, dweight, dbias) for dy (N, K, OH, OW); the output size is that of dy."""
    x, weight, dy = (np.asarray(array, np.float64) for array in (x, weight, dy))
    size = dy.shape[2:]
    padded = _pad(x, weight, size, stride, padding, dilation)
    dpadded, dweight = np.zeros_like(padded), np.zeros_like(weight)
    for channels, filters in _groups(weight, groups):
        for i, j in np.ndindex(weight.shape[2:]):
            window = _window(i, j, size, stride, dilation)
            dweight[filters, :, i, j] = np.einsum(
                "nkhw,nchw->kc", dy[:, filters], padded[:, channels][window]
            )
            dpadded[:, channels][window] += np.einsum(
                "nkhw,kc->nchw", dy[:, filters], weight[filters, :, i, j]
            )
    top, left = padding
    dx = dpadded[:, :, top : top + x.shape[2], left : left + x.shape[3]]
    return dx.copy(), dweight, dy.sum(axis=(0, 2, 3))


def _symmetric_size(x, weight, stride, padding, dilation):
    return tuple(
        conv2d_output_size(x.shape[2 + a], weight.shape[2 + a], stride[a], padding[a], dilation[a])
        for a in (0, 1)
    )


def _pad(x, weight, size, stride, padding, dilation):
    """x with zeros around it, far enough for the last window."""
    ends = []
    for axis in (0, 1):
        reach = (size[axis] - 1) * stride[axis] + dilation[axis] * (weight.shape[2 + axis] - 1) + 1
        ends.append(max(0, reach - padding[axis] - x.shape[2 + axis]))
    return np.pad(x, ((0, 0), (0, 0), (padding[0], ends[0]), (padding[1], ends[1])))


def _groups(weight, groups):
    """(input channels, filters) of each group, as slices."""
    filters, channels = weight.shape[0] // groups, weight.shape[1]
    for g in range(groups):
        yield (
            slice(g * channels, (g + 1) * channels),
            slice(g * filters, (g + 1) * filters),
        )


def _window(i, j, size, stride, dilation):
    """Index of the padded pixels that kernel position (i, j) meets, one for each output."""
    rows, columns = (
        slice(at * d, at * d + s * (n - 1) + 1, s)
        for at, d, s, n in zip((i, j), dilation, stride, size, strict=True)
    )
    return (slice(None), slice(None), rows, columns)
