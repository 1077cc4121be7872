"""Our definitions of the format: generated as committed, and the same on the wire as Apple's."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetuned.spec import coreml_pb2 as pb

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor, FieldDescriptor

ROOT = Path(__file__).parents[2]
OURS = sorted(pb.DESCRIPTOR.message_types_by_name)


def test_generating_again_gives_the_committed_modules(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("generate_proto", ROOT / "tools" / "generate_proto.py")
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    tool.generate(tmp_path)
    for name in ("coreml_pb2.py", "coreml_pb2.pyi"):
        made = tmp_path / "finetuned" / "spec" / name
        assert made.read_bytes() == (ROOT / "daemon" / "finetuned" / "spec" / name).read_bytes()


def test_our_definitions_live_beside_apples_in_one_process(apple: Any) -> None:  # noqa: ANN401
    theirs = apple.Model(specificationVersion=4, isUpdatable=True)
    assert pb.Model.FromString(theirs.SerializeToString()).isUpdatable


def same_on_the_wire(ours: FieldDescriptor, theirs: FieldDescriptor) -> bool:
    """Compare two fields; floats may be bytes here, and messages may be unread."""
    if ours.type == ours.TYPE_BYTES and theirs.is_repeated:
        return theirs.type == theirs.TYPE_FLOAT and theirs.is_packed
    if ours.message_type is not None and ours.message_type.name == "Unread":
        return theirs.type == theirs.TYPE_MESSAGE and not theirs.is_repeated
    shape = (ours.name, ours.type, ours.is_repeated)
    return shape == (theirs.name, theirs.type, theirs.is_repeated)


def disagreements(ours: Descriptor, theirs: Descriptor) -> list[str]:
    """Return the fields of ours that Apple's message has not, or has otherwise."""
    numbered = theirs.fields_by_number
    found = [
        f"{ours.name}.{field.name}"
        for field in ours.fields
        if field.number not in numbered or not same_on_the_wire(field, numbered[field.number])
    ]
    for nested in ours.nested_types:
        found += disagreements(nested, theirs.nested_types_by_name[nested.name])
    return found


def test_every_field_has_apples_number_name_and_type(apple: Any) -> None:  # noqa: ANN401
    files = [apple.DESCRIPTOR]
    for file in files:
        files += [needed for needed in file.dependencies if needed not in files]
    theirs = {name: message for file in files for name, message in file.message_types_by_name.items()}
    compared = [pb.DESCRIPTOR.message_types_by_name[name] for name in OURS if name != "Unread"]
    assert [field for ours in compared for field in disagreements(ours, theirs[ours.name])] == []


def test_every_layer_type_and_model_type_of_apple_has_its_name(apple: Any) -> None:  # noqa: ANN401
    layers = apple.NeuralNetwork__pb2.NeuralNetworkLayer.DESCRIPTOR.oneofs_by_name["layer"].fields
    ours = pb.NeuralNetworkLayer.DESCRIPTOR.oneofs_by_name["layer"].fields
    assert {field.name for field in ours} == {field.name for field in layers}
    kinds = apple.Model.DESCRIPTOR.oneofs_by_name["Type"].fields
    assert {field.name for field in pb.Model.DESCRIPTOR.oneofs_by_name["Type"].fields} == {
        f.name for f in kinds
    }
