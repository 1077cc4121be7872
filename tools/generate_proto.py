"""Write `coreml_pb2.py` and `coreml_pb2.pyi` from `coreml.proto`, with the compiler that the tests pin."""

from __future__ import annotations

import sys
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).parents[1] / "daemon"
# The whole path is the file's name in protobuf's registry, which all libraries of a process share.
DEFINITIONS = "finetuned/spec/coreml.proto"


def generate(folder: Path) -> None:
    """Write the two modules below `folder`; RuntimeError when the compiler refuses the definitions."""
    outputs = [f"--python_out={folder}", f"--pyi_out={folder}"]
    if protoc.main(["protoc", f"--proto_path={ROOT}", *outputs, DEFINITIONS]):
        raise RuntimeError("protoc refused coreml.proto; its message stands above")


if __name__ == "__main__":
    generate(ROOT)
    sys.stdout.write(f"wrote the modules of {ROOT / DEFINITIONS}\n")
