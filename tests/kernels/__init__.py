"""Tests of minicnn.kernels: every operation against the oracle, inside guarded buffers."""
