"""The geometry of a convolution: sizes, zero borders and offset tables.

All of it is NumPy and Python integers, done once a call before the kernel's loops begin.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minicnn.kernels.checks import INT32_MAX, Shape, check_at_least, check_not_empty, check_shape

Floats = NDArray[np.float32]
Offsets = NDArray[np.intp]


@dataclass(frozen=True)
class ConvGeometry:
    """The checked geometry of one call; `Hp` and `Wp` count the zero borders.

    Attributes
    ----------
    x, weight, y : tuple of int
        Shapes (N, C, H, W), (K, C/G, kH, kW), (N, K, OH, OW).
    stride, pad, dilation : tuple of int
        Vertical and horizontal; `pad` is the border above and to the left.
    groups, Hp, Wp : int
    """

    x: Shape
    weight: Shape
    y: Shape
    stride: tuple[int, int]
    pad: tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    Hp: int
    Wp: int

    def sizes(self) -> dict[str, int]:
        """The numbers that the loops need, by the names that conv2d.pyx gives them."""
        (N, C, _, _), (K, Cg, kH, kW), (_, _, OH, OW) = self.x, self.weight, self.y
        return {
            "N": N, "C": C, "K": K, "G": self.groups, "Cg": Cg, "Kg": K // self.groups,
            "Hp": self.Hp, "Wp": self.Wp, "P": OH * OW, "R": kH * kW, "T": Cg * kH * kW,
        }  # fmt: skip

    def pixel_table(self) -> Offsets:
        """(P,): where in a bordered plane the window of each output pixel begins."""
        rows = np.arange(self.y[2], dtype=np.intp) * (self.stride[0] * self.Wp)
        columns = np.arange(self.y[3], dtype=np.intp) * self.stride[1]
        return np.add.outer(rows, columns).ravel()

    def tap_table(self) -> Offsets:
        """(T,): how far from the beginning of the window each tap (c, kh, kw) lies."""
        planes = np.arange(self.weight[1], dtype=np.intp) * (self.Hp * self.Wp)
        rows = np.arange(self.weight[2], dtype=np.intp) * (self.dilation[0] * self.Wp)
        columns = np.arange(self.weight[3], dtype=np.intp) * self.dilation[1]
        return np.add.outer(np.add.outer(planes, rows), columns).ravel()

    def bordered(self) -> bool:
        """Whether the loops need an image larger than x."""
        return (self.Hp, self.Wp) != self.x[2:]

    def add_border(self, x: Floats) -> Floats:
        """`x` with zeros around each plane; `x` itself where no border is needed."""
        if not self.bordered():
            return x
        image = np.zeros((*self.x[:2], self.Hp, self.Wp), np.float32)
        self.crop_border(image)[...] = x
        return image

    def crop_border(self, image: Floats) -> Floats:
        """The view of a bordered image that holds the planes themselves."""
        top, left = self.pad
        return image[:, :, top : top + self.x[2], left : left + self.x[3]]


def check_geometry(
    x: Shape, weight: Shape, y: Shape,
    stride_h: Any, stride_w: Any, pad_top: Any, pad_left: Any,
    dilation_h: Any, dilation_w: Any, groups: Any,
) -> ConvGeometry:  # fmt: skip
    """The geometry of a call, after every check that memory safety needs.

    Raises
    ------
    ValueError
        When shapes disagree, an axis other than the batch is empty, a number is out of range,
        or the outputs do not fit the image.
    """
    groups = check_at_least("groups", groups, 1)
    check_not_empty("x", x, first_axis=1)
    check_not_empty("weight", weight)
    check_not_empty("y", y, first_axis=1)
    if x[1] % groups or weight[0] % groups:
        raise ValueError(
            f"groups = {groups} must divide the input channels ({x[1]}) "
            f"and the output channels ({weight[0]})"
        )
    check_shape("weight", weight, (weight[0], x[1] // groups, *weight[2:]))
    check_shape("y", y, (x[0], weight[0], *y[2:]))
    stride = tuple(check_at_least("stride", value, 1) for value in (stride_h, stride_w))
    pad = tuple(check_at_least("padding", value, 0) for value in (pad_top, pad_left))
    dilation = tuple(check_at_least("dilation", value, 1) for value in (dilation_h, dilation_w))
    Hp, Wp = (
        padded_size(axis, x[i], y[i], weight[i], stride[i - 2], pad[i - 2], dilation[i - 2])
        for i, axis in ((2, "height"), (3, "width"))
    )
    if x[1] * Hp * Wp > INT32_MAX:
        raise ValueError(
            f"a sample with its zero borders would have {x[1]}×{Hp}×{Wp} values; "
            f"at most {INT32_MAX} are possible"
        )
    return ConvGeometry(
        x, weight, y, (stride[0], stride[1]), (pad[0], pad[1]), (dilation[0], dilation[1]),
        groups, Hp, Wp,
    )  # fmt: skip


def padded_size(
    axis: str, size: int, out: int, kernel: int, stride: int, pad: int, dilation: int
) -> int:
    """Return the length that one axis of a convolution's image needs, zero borders included.

    The border after the image follows from `out`. It is legal up to the border before the image,
    or up to the reach of the kernel less one: beyond that, whole windows would lie outside. A
    dilation that leaves the image behind altogether is refused before it costs memory. `out` is
    too small when one more window would fit without any border.
    """
    reach = dilation * (kernel - 1) + 1
    needed = (out - 1) * stride + reach
    border = needed - pad - size
    if not -stride < border <= max(pad, min(reach - 1, pad + size + kernel)):
        raise ValueError(
            f"{axis}: {out} outputs do not fit an image of {size} with kernel {kernel}, "
            f"stride {stride}, padding {pad}, dilation {dilation}; "
            f"a symmetric padding gives {(size + 2 * pad - reach) // stride + 1}"
        )
    return max(size + pad, needed)


def pack_lanes(matrix: Floats, lanes: int) -> Floats:
    """(G, rows, columns) -> (G, blocks, rows, lanes): `lanes` columns side by side, 0 beyond."""
    groups, rows, columns = matrix.shape
    blocks = -(-columns // lanes)
    padded = np.zeros((groups, rows, blocks * lanes), np.float32)
    padded[:, :, :columns] = matrix
    return np.ascontiguousarray(padded.reshape(groups, rows, blocks, lanes).transpose(0, 2, 1, 3))
