"""Checkpoints and runs that say what a stranger wants, with sums that are right."""

import json

import safetensors.numpy

from skill_agent import manifest


def rewrite(checkpoint, change):
    """Let ``change`` alter the JSON and the arrays of a checkpoint, and write it with a right manifest."""
    state = json.loads((checkpoint / "state.json").read_bytes())
    arrays = safetensors.numpy.load((checkpoint / "arrays.safetensors").read_bytes())
    change(state, arrays)
    files = {"arrays.safetensors": safetensors.numpy.save(arrays), "state.json": json.dumps(state).encode()}
    for name, data in files.items():
        (checkpoint / name).write_bytes(data)
    (checkpoint / "manifest.json").write_text(json.dumps(manifest.describe(files)))


def flip(path, bit):
    """Turn one bit of a file."""
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)
