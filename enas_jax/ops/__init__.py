"""Operations on images and cells, fast on CPU, GPU and TPU.

Those with a gradient of their own are jitted each: so they are traced once a
shape, not at every use.
"""
