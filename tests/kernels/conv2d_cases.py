"""The convolutions that are tried: a listed set that aims at the edges, and random ones."""

from dataclasses import dataclass

import numpy as np
import reference


@dataclass(frozen=True)
class Case:
    """One convolution. `output_size` None means symmetric padding."""

    N: int = 2
    C: int = 3
    K: int = 4
    image: tuple[int, int] = (7, 6)
    kernel: tuple[int, int] = (3, 3)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    output_size: tuple[int, int] | None = None
    bias: bool = True

    def size(self):
        """(OH, OW)."""
        return self.output_size or tuple(
            reference.conv2d_output_size(*axis)
            for axis in zip(
                self.image, self.kernel, self.stride, self.padding, self.dilation, strict=True
            )
        )

    def geometry(self):
        """The arguments of a kernel that follow its arrays."""
        return (*self.stride, *self.padding, *self.dilation, self.groups)

    def options(self):
        """The same for the oracle's gradients."""
        names = ("stride", "padding", "dilation", "groups")
        return {name: getattr(self, name) for name in names}


LISTED = {
    "tails": [Case(image=(n, 18 - n), kernel=(1, 1)) for n in range(1, 18)]
    + [Case(image=(3, n + 2), padding=(1, 0)) for n in range(1, 18)]
    + [Case(C=n, K=18 - n, image=(4, 5)) for n in range(1, 18)],
    "single sample, odd sizes": [
        Case(N=1, C=1, K=1, image=(1, 1), kernel=(1, 1)),
        Case(N=1, C=1, K=1, image=(3, 3)),
        Case(N=1, C=5, K=7, image=(13, 11), kernel=(5, 3), padding=(2, 1)),
        Case(N=1, C=1, K=6, image=(28, 28), kernel=(5, 5), padding=(2, 2)),
        Case(N=9, C=2, K=3, image=(5, 5), bias=False),
        Case(N=17, C=1, K=2, image=(4, 4), kernel=(2, 2)),
    ],
    "stride beyond the kernel": [
        Case(image=(11, 9), kernel=(k, k), stride=(s, s + 1), padding=(p, 0))
        for k in (1, 2)
        for s in (2, 3, 4)
        for p in (0, 1)
    ],
    "stride 2 and 3": [
        Case(image=(h, 12 - h), stride=(s, 2), padding=(1, p))
        for h in (5, 6, 7)
        for s in (1, 2, 3)
        for p in (0, 1)
    ],
    "padding": [
        Case(image=(4, 5), kernel=(k, 3), padding=(p, q))
        for k in (1, 2, 3)
        for p in (0, 1, 2)
        for q in (1, 2, 3)
    ],
    "dilation": [
        Case(image=(9, 10), kernel=k, dilation=d, padding=p, stride=s)
        for k in ((3, 3), (2, 3))
        for d in ((2, 2), (1, 3), (3, 1), (4, 4))
        for p, s in (((0, 0), (1, 1)), ((4, 2), (2, 1)))
    ],
    "groups": [
        Case(C=c, K=k, groups=g, image=(5, 6), padding=(1, 1))
        for c, k, g in ((2, 2, 2), (4, 2, 2), (6, 9, 3), (8, 8, 8), (5, 10, 5), (17, 17, 17))
    ]
    + [Case(C=20, K=30, groups=2, stride=(2, 2), kernel=(2, 3))],
    "kernel as large as the padded image": [
        Case(image=(h, w), kernel=(h + 2 * p, w + 2 * q), padding=(p, q))
        for h, w in ((1, 1), (3, 5), (4, 2))
        for p, q in ((0, 0), (1, 0), (2, 1))
    ],
    "rectangular kernels": [
        Case(image=(8, 9), kernel=k, padding=p)
        for k in ((1, 5), (5, 1), (2, 7), (7, 2))
        for p in ((0, 0), (1, 2))
    ],
    "padding that is not symmetric": [
        Case(image=(5, 6), kernel=(2, 2), output_size=(5, 6)),
        Case(image=(5, 6), kernel=(4, 2), padding=(1, 0), output_size=(5, 6)),
        Case(image=(6, 5), kernel=(4, 4), padding=(1, 2), output_size=(6, 5)),
        Case(image=(5, 5), kernel=(2, 2), padding=(1, 1), output_size=(5, 5)),
        Case(image=(5, 5), dilation=(3, 2), padding=(3, 2), output_size=(5, 5)),
        Case(image=(7, 7), stride=(2, 2), padding=(0, 1), output_size=(4, 4)),
        Case(image=(2, 2), kernel=(5, 5), output_size=(1, 1)),
    ],
    "one window, a stride beyond 32 bits": [
        Case(image=(4, 5), stride=(2**31 + 1, 2**40), padding=(1, 1)),
        Case(image=(3, 3), stride=(2**31 - 1, 2**31)),
    ],
    "long sums": [
        Case(N=2, C=40, K=9, image=(6, 5), kernel=(3, 3)),
        Case(N=3, C=2, K=3, image=(27, 25), kernel=(3, 3)),
        Case(N=1, C=64, K=33, image=(4, 4), kernel=(3, 3), padding=(1, 1)),
    ],
}


def random_case(seed):
    """A case that is always legal: sizes are drawn, then the image is made large enough."""
    rng = np.random.default_rng([seed, 2026])

    def pair(low, high):
        return tuple(int(i) for i in rng.integers(low, high + 1, 2))

    groups = int(rng.choice([1, 1, 1, 2, 3]))
    kernel, dilation = pair(1, 5), pair(1, 2)
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    padding = tuple(int(rng.integers(0, r)) for r in reach)
    image = tuple(
        max(1, r - 2 * p) + int(rng.integers(0, 8)) for r, p in zip(reach, padding, strict=True)
    )
    return Case(
        N=int(rng.integers(1, 4)),
        C=groups * int(rng.integers(1, 6)),
        K=groups * int(rng.integers(1, 11)),
        image=image,
        kernel=kernel,
        stride=pair(1, 4),
        padding=padding,
        dilation=dilation,
        groups=groups,
        bias=bool(seed % 4),
    )
