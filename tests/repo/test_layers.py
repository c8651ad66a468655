"""The rules of the source tree that a compiler doesn't check: layers include only those above them, and stay free of
Torch where docs/ARCHITECTURE.md says so."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
LAYERS = "base config io jinja tokenizer data kernels quant model adapters optim parallel engine train mcp cli".split()
TORCH_FREE = {"base", "config", "io", "jinja", "tokenizer", "data", "kernels", "mcp"}
INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', re.MULTILINE)


def sources():
    listed = subprocess.run(["git", "ls-files", "src"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.splitlines() if name.endswith((".cpp", ".hpp", ".cu", ".cuh"))]


def includes(path):
    return INCLUDE.findall(path.read_text(encoding="utf-8"))


def layer_of(path):
    return path.relative_to(ROOT / "src").parts[0]


def test_there_are_sources_to_check():
    assert {layer_of(path) for path in sources()} <= set(LAYERS)
    assert len(sources()) > 20


def test_layers_include_only_those_above_them():
    upward = [
        f"{path.relative_to(ROOT)} includes {name}"
        for path in sources()
        for name in includes(path)
        if name.partition("/")[0] in LAYERS and LAYERS.index(name.partition("/")[0]) > LAYERS.index(layer_of(path))
    ]
    assert not upward, "\n".join(upward)


def test_light_layers_are_free_of_torch():
    torch = [
        f"{path.relative_to(ROOT)} includes {name}"
        for path in sources()
        for name in includes(path)
        if layer_of(path) in TORCH_FREE and name.startswith(("torch/", "ATen/", "c10/"))
    ]
    assert not torch, "\n".join(torch)


def test_files_begin_with_their_job():
    """A header, or a source without one of its own name, starts with a comment on its job."""
    silent = [
        str(path.relative_to(ROOT))
        for path in sources()
        if not (path.suffix == ".cpp" and path.with_suffix(".hpp").exists())
        and not path.read_text(encoding="utf-8").startswith(("//", "/*"))
    ]
    assert not silent, "without a comment that says the file's job:\n" + "\n".join(silent)
