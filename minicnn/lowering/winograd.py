"""Which convolutions take Winograd's method, where channels are in the lanes."""

from ..engine import winograd, winograd_enabled
from .nodes import Node, convolution, windows_side_by_side


def winograd_method(
    node: Node, training: bool, after: Node | None = None
) -> winograd.Method | None:
    """Which of the Winograd kernels can do this node, and faster than direct sums.

    In prediction a sample may come alone; the answer for it must not depend on that.

    Parameters
    ----------
    after : Node, optional
        Who reads what the node makes.
    """
    if node.kind != "conv" or not winograd_enabled() or node.layer.groups > 1:
        return None
    c = convolution(node)
    method = winograd.method(c.stride)
    if method is None or c.kernel != (3, 3) or c.dilation != (1, 1):
        return None
    pooled = after is not None and after.kind == "max_pool" and windows_side_by_side(after)
    if method is winograd.STRIDED and pooled:
        return None  # to do the pooling as well saves more
    slots = method.group(*c.output) if training else 1
    pays = method.pays(node.x.shape[0], node.y.shape[0], *c.output, slots)
    return method if pays else None
