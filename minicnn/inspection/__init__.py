"""What is wrong with data before anything is trained on it; `minicnn check` prints it.

`photos.py` looks at folders of photos, `arrays.py` at arrays, `divided.py` at either as a training
uses them; all fill the `Report` of `findings.py`. `fingerprint.py` describes a picture by what
stays when it is saved again, `neighbours.py` finds those that are alike among very many,
`copies.py` says what their being alike means, and `classes.py` looks at how many there are of each
class.
"""
