"""One Linear layer, forward and backward, on numbers small enough for paper.

Two samples of two features, three outputs; everything in the comments was computed by hand.
Run it to see the layer arrive at the same numbers: python scripts/linear_by_hand.py
"""

import numpy as np

import minicnn as mc

layer = mc.Linear(2, 3)
layer.weight.data[...] = [[1, 2], [0, -1], [3, 1]]  # one row of weights for each output
layer.bias.data[...] = [0.5, 1, -2]

x = np.array([[1, 2], [-1, 4]], np.float32)
dy = np.array([[1, 0, 2], [-1, 1, 0]], np.float32)  # gradient that a next layer would hand back

# Forward: y[n,k] = Σ_i weight[k,i] · x[n,i] + bias[k]
#   sample 0:  1·1 + 2·2 + 0.5 = 5.5    0·1 − 1·2 + 1 = −1    3·1 + 1·2 − 2 = 3
#   sample 1:  −1 + 8 + 0.5 = 7.5       0 − 4 + 1 = −3        −3 + 4 − 2 = −1
Y = [[5.5, -1, 3], [7.5, -3, -1]]

# dbias[k] = Σ_n dy[n,k]: every sample adds the bias once
#   1 − 1 = 0      0 + 1 = 1      2 + 0 = 2
DBIAS = [0, 1, 2]

# dweight[k,i] = Σ_n dy[n,k] · x[n,i]: a weight counts as much as the input it is multiplied with
#   output 0:  1·1 + (−1)·(−1) = 2    1·2 + (−1)·4 = −2
#   output 1:  0·1 + 1·(−1) = −1      0·2 + 1·4 = 4
#   output 2:  2·1 + 0·(−1) = 2       2·2 + 0·4 = 4
DWEIGHT = [[2, -2], [-1, 4], [2, 4]]

# dx[n,i] = Σ_k weight[k,i] · dy[n,k]: an input counts through every output it went into
#   sample 0:  1·1 + 0·0 + 3·2 = 7    2·1 − 1·0 + 1·2 = 4
#   sample 1:  1·(−1) + 0·1 + 0 = −1  2·(−1) − 1·1 + 0 = −3
DX = [[7, 4], [-1, -3]]


def check(name: str, computed: np.ndarray, by_hand: list) -> None:
    np.testing.assert_array_equal(computed, np.array(by_hand, np.float32))
    print(f"{name} = {computed.tolist()}, as by hand")


check("y      ", layer.forward(x), Y)
dx = layer.backward(dy)
check("dbias  ", layer.bias.grad, DBIAS)
check("dweight", layer.weight.grad, DWEIGHT)
check("dx     ", dx, DX)

print()
print(mc.Sequential(layer).trace(x, layer=0, index=(0, 2)))
