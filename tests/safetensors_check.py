"""The reference library on the other side of a checkpoint.

    safetensors_check.py read PATH     opens what `test_checkpoint write PATH` wrote, and compares bit for bit
    safetensors_check.py write PATH    writes the same contents for `test_checkpoint read PATH`

The contents are those of tests/test_checkpoint.c. Exit status 1 where something differs.
"""
import sys

import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

METADATA = {
    "model": "test", "hidden": "192", "empty": "", "quotes": "say \"hi\", 'now'", "slashes": "C:\\dir\\ a/b",
    "lines": "a\nb\tc\rd\x01\x1f\x7f", "spanish": "ñandú — «¿Qué?» 😀", "key \"with\\ ñ": "{}[],:",
}
SHAPES = [("embedding", (3, 5)), ("lstm.Wx", (2, 8)), ("row", (1, 7)), ("column", (4, 1)), ("one", (1, 1)),
          ("special", (1, 8))]
LARGEST = np.finfo(np.float32).max
SPECIAL = [0.0, -0.0, 2.0**-149, LARGEST, -LARGEST, np.inf, -np.inf, np.float32(1) / np.float32(3)]


def tensors():
    """name → array, number i of tensor k as in the C file."""
    result = {}
    for k, (name, shape) in enumerate(SHAPES):
        count = shape[0] * shape[1]
        numbers = SPECIAL if name == "special" else [((37 * i + 11 * k) % 101 - 50) / 8 for i in range(count)]
        result[name] = np.array(numbers, dtype=np.float32).reshape(shape)
    return result


def differences(path):
    """What a reader of the format finds wrong in the file, line by line."""
    got, want = load_file(path), tensors()
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
    if metadata != METADATA:
        yield f"metadata is {metadata}"
    if sorted(got) != sorted(want):
        yield f"tensors are {sorted(got)}"
    for name in sorted(set(got) & set(want)):
        if got[name].dtype != np.float32 or got[name].shape != want[name].shape:
            yield f"{name} is {got[name].dtype} {got[name].shape}"
        elif got[name].tobytes() != want[name].tobytes():
            yield f"{name} is {got[name]}, not {want[name]}"


def main():
    mode, path = sys.argv[1:]
    if mode == "write":
        arrays = tensors()
        arrays["row"] = arrays["row"].reshape(-1)  # one dimension, as PyTorch keeps a bias
        arrays["one"] = arrays["one"].reshape(())
        save_file(arrays, path, metadata=METADATA)
        return 0
    found = list(differences(path))
    for line in found:
        print(f"{path}: {line}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
