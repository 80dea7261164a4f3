"""What compiled code asks without a call of the interpreter."""

cpdef bint in_inference() except -1
