"""Read a `.pt2` file as data: torch's own loader would run code that is hidden in one.

Such code hides in pickles, in compiled libraries, and in the texts of the program, of which torch makes Python source
(names), calls (targets) and evaluates the rest (sizes, guards, types of trees). So torch does not see the file: it
sees an archive written here, of the members that a program needs, pickles read with `weights_only` and written anew,
and a program in which every text is what it says.
"""

from __future__ import annotations

import ast
import io
import json
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch.export import ExportedProgram

from edgesparse.errors import FrontendError, in_words
from edgesparse.frontend.torch.export import quiet

PROGRAM = "models/model.json"
INPUTS = "data/sample_inputs/model.pt"
CONFIGS = ("data/weights/model_weights_config.json", "data/constants/model_constants_config.json")
STATES = ("data/weights/model.pt", "data/constants/model.pt")  # instead of the above, before torch 2.9
LABELS = ("archive_format", "archive_version", "byteorder", ".data/version")

_NAME = re.compile(r"[\w.+\-/ ]*")
_TARGET = re.compile(
    r"torch\.ops\.(aten|prims|quantized_decomposed|torchvision|higher_order)\.(?!from_file)\w+(\.\w+)?"
    r"|_operator\.(abs|add|and_|eq|floordiv|ge|getitem|gt|le|lt|mod|mul|ne|neg|not_|or_|pos|pow|sub|truediv)"
    r"|math\.\w+|torch\.sym_\w+|torch\._sym_\w+"
)
_FUNCTION = re.compile(  # of sympy and torch, that only compute
    "Abs|Add|And|CeilDiv|CeilToInt|CleanDiv|Eq|Equality|Float|FloatTrueDiv|FloorDiv|FloorToInt|Ge|GreaterThan|Gt"
    "|Identity|IntTrueDiv|Integer|Le|LessThan|Lt|Max|Min|Mod|ModularIndexing|Mul|Ne|Not|Or|Piecewise|Pow|PythonMod"
    "|Rational|RoundToInt|StrictGreaterThan|StrictLessThan|Symbol|ToFloat|TruncToFloat|TruncToInt|Unequality|Where"
    "|ceiling|floor"
)
_ARITHMETIC = (
    *(ast.Expression, ast.Load, ast.BinOp, ast.UnaryOp, ast.Compare, ast.Tuple, ast.operator, ast.unaryop, ast.cmpop),
    ast.keyword,
)
_FREE = ("as_string", "as_strings", "nn_module_stack")  # torch quotes arguments, and only reads the layers
_SYMBOL = re.compile(r"[a-z]{1,5}\d{1,6}|oo|int_oo")
_EXPONENT = re.compile(r"-?\d|Integer\(-?\d\)")
_MAX_SIZE_TEXT, _MAX_POWERS = 4096, 4


def load(path: Path) -> ExportedProgram:
    """The program in a file by `torch.export.save`; nothing in the file is run.

    Raises: FrontendError: the file cannot be read, holds something else than data, or is of another version.
    """
    try:
        archive = _rewritten(path.read_bytes(), path)
    except OSError as err:
        said = "there is no such file" if isinstance(err, FileNotFoundError) else err.strerror or err
        raise FrontendError(f"{path}: cannot be read: {said}") from err
    try:
        with quiet():
            return torch.export.load(archive)
    except Exception as err:  # of many kinds: schema, unknown operators and classes
        raise _unreadable(path, in_words(err)) from err


def _unreadable(path: Path, why: str) -> FrontendError:
    return FrontendError(f"{path}: not a file by torch.export.save, or of another version: {why}")


def _refused(path: Path, member: str, got: str, expected: str) -> FrontendError:
    return FrontendError(
        f"{path}: {member}: got {got}, expected {expected}; such a file could run code; "
        "remedy: export the module with edgesparse, as package.module:function"
    )


def _rewritten(data: bytes, path: Path) -> io.BytesIO:
    """An archive with the checked members of the one in `data`."""
    members = _members(data, path)
    if PROGRAM not in members:
        others = ", ".join(sorted(members)[:3])
        raise _unreadable(path, f"it has no {PROGRAM}" + (f", but {others}" if members else ""))
    for name in members:
        if name.startswith("data/aotinductor/"):
            raise _refused(path, name, "machine code", "a program by torch.export.save")
    kept = {name: members[name] for name in LABELS if name in members}
    kept[PROGRAM] = _checked_program(members[PROGRAM], path)
    for name in (INPUTS, *STATES):
        if members.get(name):
            kept[name] = _plain(members[name], path, name)
        elif name in members:
            kept[name] = b""
    for config in CONFIGS:
        if config in members:
            kept |= _payloads(members, config, path)
    rewritten = io.BytesIO()
    with zipfile.ZipFile(rewritten, "w", zipfile.ZIP_STORED) as archive:
        for name, content in kept.items():
            archive.writestr(f"model/{name}", content)
    rewritten.seek(0)
    return rewritten


def _members(data: bytes, path: Path) -> dict[str, bytes]:
    """What lies in the archive, by its name below the only folder.

    Nothing is compressed, so that no member is larger than the file.
    """
    members: dict[str, bytes] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            if sum(entry.file_size for entry in entries) > len(data):
                raise _unreadable(path, "its members are larger than the file")
            for entry in entries:
                name = str(PurePosixPath(*PurePosixPath(entry.filename).parts[1:]))
                if name in members or entry.compress_type != zipfile.ZIP_STORED:
                    raise _unreadable(path, f"{entry.filename} is compressed or there twice")
                members[name] = archive.read(entry)
    except (zipfile.BadZipFile, EOFError, RuntimeError, NotImplementedError, ValueError) as err:
        raise _unreadable(path, in_words(err)) from err
    return members


def _plain(pickled: bytes, path: Path, member: str) -> bytes:
    """A pickle of tensors and plain values, read as such and written anew."""
    written = io.BytesIO()
    try:
        with quiet():
            torch.save(torch.load(io.BytesIO(pickled), weights_only=True), written)
    except Exception as err:  # whatever the bytes do to the reader
        got = re.search(r"GLOBAL ([\w.]+)", str(err))
        raise _refused(path, member, f"a pickle of {got[1]}" if got else "a pickle", "tensors and numbers") from err
    return written.getvalue()


def _payloads(members: dict[str, bytes], config: str, path: Path) -> dict[str, bytes]:
    """A list of tensors and the members that it names."""
    table = _json(members[config], path, config)
    kept = {config: json.dumps(table).encode()}
    folder = config.rpartition("/")[0]
    entries = table.get("config") if isinstance(table, dict) else None
    for entry in entries.values() if isinstance(entries, dict) else ():
        name = str(entry.get("path_name")) if isinstance(entry, dict) else ""
        member = f"{folder}/{name}"
        if not re.fullmatch(r"(weight|tensor)_\d+", name):
            raise _refused(path, member, "an object", "tensors")
        if member not in members:
            raise _unreadable(path, f"{member} is missing")
        kept[member] = _plain(members[member], path, member) if entry.get("use_pickle") else members[member]
    return kept


def _json(content: bytes, path: Path, member: str, hook: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    try:
        return json.loads(content, object_hook=hook)
    except (ValueError, RecursionError) as err:
        raise _unreadable(path, f"{member} is not JSON: {in_words(err)}") from err


def _checked_program(content: bytes, path: Path) -> bytes:
    """The program without guards and notes, if no text in it could become code."""
    program = _json(content, path, PROGRAM, _without_notes)
    if not isinstance(program, dict):
        raise _unreadable(path, f"{PROGRAM} is not an object")
    program["guards_code"] = []
    for key, text in _texts(program):
        if not _HARMLESS.get(key, _is_name)(text):
            raise _refused(path, PROGRAM, f"{key} {text[:60]!r}", "names and numbers")
    return json.dumps(program).encode()


def _without_notes(held: dict[str, Any]) -> dict[str, Any]:
    """Of what is noted of a node, the layers that it belongs to: names come from them."""
    if isinstance(notes := held.get("metadata"), dict):
        held["metadata"] = {name: text for name, text in notes.items() if name == "nn_module_stack"}
    return held


def _texts(root: Any) -> Iterator[tuple[str, str]]:
    """Every text in a JSON value with the name of its field; the names themselves as texts of "field"."""
    pending: list[tuple[str, Any]] = [("", root)]
    while pending:
        key, value = pending.pop()
        if isinstance(value, dict):
            yield from (("field", name) for name in value)
            pending += value.items()
        elif isinstance(value, list):
            pending += [(key, item) for item in value]
        elif isinstance(value, str):
            yield key, value


def _is_name(text: str) -> bool:
    return _NAME.fullmatch(text) is not None


def _is_tree(text: str) -> bool:
    """Whether a tree of arguments is made of containers that hold no code: keys are names, nothing is imported."""
    try:
        texts = list(_texts(json.loads(text)))
    except (ValueError, RecursionError):
        return False
    for key, item in texts:
        nested = key == "context" and item[:1] in '[{"'
        if item in ("__enum__", "default_factory_module") or not (_is_tree(item) if nested else _is_name(item)):
            return False
    return True


def _is_size(text: str) -> bool:
    """Whether `text` is arithmetic on symbols and numbers, with no power that takes long."""
    try:
        nodes = list(ast.walk(ast.parse(text[: _MAX_SIZE_TEXT + 1].strip(), mode="eval")))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    powers = [node for node in nodes if isinstance(node, ast.Pow) or getattr(node, "id", "") == "Pow"]
    return len(text) <= _MAX_SIZE_TEXT and len(powers) <= _MAX_POWERS and all(map(_computes, nodes))


def _computes(node: ast.AST) -> bool:
    """Whether one node of an expression does nothing but compute, and not for long."""
    match node:
        case ast.Call(func=ast.Name(id="Pow"), args=[_, exponent]) | ast.BinOp(op=ast.Pow(), right=exponent):
            return _EXPONENT.fullmatch(ast.unparse(exponent)) is not None
        case ast.Call(func=ast.Name(id=name)):
            return name != "Pow" and _FUNCTION.fullmatch(name) is not None
        case ast.Name(id=name):
            return (_FUNCTION.fullmatch(name) or _SYMBOL.fullmatch(name)) is not None
        case ast.Constant(value=str(name)):
            return _SYMBOL.fullmatch(name) is not None
        case ast.Constant(value=int(number) | float(number)):
            return abs(number) < 1 << 63
        case _:
            return isinstance(node, _ARITHMETIC) and not isinstance(node, ast.LShift | ast.RShift | ast.MatMult)


_HARMLESS: dict[str, Callable[[str], bool]] = {
    "target": lambda text: _TARGET.fullmatch(text) is not None,
    "as_operator": lambda text: _TARGET.fullmatch(text) is not None,
    "expr_str": _is_size,
    "in_spec": _is_tree,
    "out_spec": _is_tree,
    **dict.fromkeys(_FREE, lambda text: True),
}
