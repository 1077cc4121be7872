"""The command `finetuned`."""

from __future__ import annotations

import os

# Before anything can import onnxruntime: its Linux wheels send telemetry unless this stands in the environment.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"


def main() -> None:
    """Run the command line."""
    from finetuned.edge.cli import app  # noqa: PLC0415 - after the environment is set

    app(prog_name="finetuned")


if __name__ == "__main__":
    main()
