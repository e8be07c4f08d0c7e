"""Operations on images and cells that are fast on CPU, GPU and TPU.

Every operation with a gradient of its own is jitted, so that it is traced once
for each shape and not at every use.
"""
