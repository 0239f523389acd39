"""The forms of the kernels that compute weighted layers: their tiles, and how these cut a layer."""
