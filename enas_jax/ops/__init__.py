"""Operations on images and cells, fast on CPU, GPU and TPU."""
