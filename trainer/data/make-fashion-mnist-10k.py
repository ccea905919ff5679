#!/usr/bin/env python3
"""Makes fashion-mnist-10k: the first 800 training and 200 test images of every class of Fashion-MNIST, in file order.

usage: make-fashion-mnist-10k.py SOURCE

SOURCE is a directory with the four files of Fashion-MNIST (IDX, gzip). The files are written to fashion-mnist-10k beside this script.
Every run of one Python gives the same bytes. Other zlib versions may compress differently; the content is equal.
"""

import gzip
import io
import pathlib
import struct
import sys


def read(path, magic, extents):
    data = gzip.decompress(path.read_bytes())
    header = struct.unpack_from(f">{1 + extents}I", data)
    if header[0] != magic:
        sys.exit(f"{path}: expected the magic number {magic}, found {header[0]}")
    return header[1:], data[4 * (1 + extents):]


def write(path, header, data):
    buffer = io.BytesIO()
    # An empty name and time in the header, so that equal content gives equal bytes.
    with gzip.GzipFile(filename="", mode="wb", fileobj=buffer, compresslevel=9, mtime=0) as file:
        file.write(struct.pack(f">{len(header)}I", *header) + data)
    path.write_bytes(buffer.getvalue())
    return len(buffer.getvalue())


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    source = pathlib.Path(sys.argv[1])
    target = pathlib.Path(__file__).resolve().parent / "fashion-mnist-10k"
    total = 0
    for part, each in (("train", 800), ("t10k", 200)):
        images_name, labels_name = f"{part}-images-idx3-ubyte.gz", f"{part}-labels-idx1-ubyte.gz"
        (_, height, width), pixels = read(source / images_name, 2051, 3)
        _, labels = read(source / labels_name, 2049, 1)
        seen = [0] * 10
        chosen = []
        for index, label in enumerate(labels):
            seen[label] += 1
            if seen[label] <= each:
                chosen.append(index)
        size = height * width
        images = b"".join(pixels[i * size:(i + 1) * size] for i in chosen)
        total += write(target / images_name, (2051, len(chosen), height, width), images)
        total += write(target / labels_name, (2049, len(chosen)), bytes(labels[i] for i in chosen))
    print(f"{total} bytes in {target}")


if __name__ == "__main__":
    main()
