"""Plain kernels: one operation a module, float32 arrays in NCHW order, typed memoryviews.

They are the specification: the mathematics with its shapes, passes numbered, forward above
backward. A kernel reads and writes the arrays it is given and knows nothing of layers; it
allocates nothing that a caller sees, and fills every element of its outputs.

Each call gives the same bits for any `num_threads`: threads share out whole output elements,
never the terms of one sum.
"""
