"""Pixels: what they are, where they lie, how they are decoded, encoded, shown and proven.

* `pool` and `jobs`: the codec processes, and what they are asked to do; `worker` is such a process, and only
  there `codecs`, `jpeg`, `render`, `grayscale`, `colour` and `presentation` meet foreign bytes.
* `reading` and `frames`: a stored data set, and its frames one by one.
* `rendering`, `rendition` and `decompression`: pictures, lossless JPEG 2000 and uncompressed data sets of it.
"""
