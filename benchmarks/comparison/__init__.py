"""The comparison of minicnn with other libraries: what `benchmarks/compare.py` consists of.

| file | what it does |
|---|---|
| `tasks.py` | what is measured: a network at a batch size, trained or asked; its arithmetic |
| `modes.py` | who takes part: minicnn and each peer's ways of running, and what they need |
| `targets.py` | the ratios to reach, and whether they are |
| `turns.py` | the parent's side: a process for each contender, and whose turn it is |
| `worker.py` | the child's side: builds what it is told to, runs it, reports seconds |
| `minicnn_side.py`, `torch_side.py`, `jax_side.py`, `onnx_side.py` | one library each |
| `recipe.py`, `end_to_end.py` | LeNet on MNIST to 99.0 %, and the recipe both follow |
| `steps.py`, `scaling.py`, `memory.py` | the other tables |
| `machine.py`, `load.py`, `tables.py` | the line about the machine; who else uses it; tables |
"""
