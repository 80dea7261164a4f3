"""Data: reading it, splitting it, handing it out in batches.

`sources.py` opens what a user types; `digits.py`, `idx.py`, `npz.py`, `named.py` (with
`download.py`), `image_folder.py` (with `folders.py`, `decoding.py`, `pictures.py` and
`picture_cache.py`) read one kind of source each, into the `Dataset` of `dataset.py`; `split.py`
and `batches.py` divide it. `minicnn.datasets` is the public face.
"""
