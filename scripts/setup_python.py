"""Fills the private .venv: LibTorch (the right build for this machine), Arrow, and, with --tests, the Python peers.

Runs inside the .venv, called by scripts/bootstrap. Each step leaves a marker with a hash of what it installed from, so
that a second call does only what is new.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parent.parent
MARKERS = Path(sys.prefix) / ".lorica"
CMAKE = "cmake==3.31.6"
NINJA = "ninja==1.11.1.4"
TOMLPLUSPLUS = "pytomlpp==1.1.0"  # its source archive carries the headers of toml++ 3.4


def say(text: str) -> None:
    print(f"[setup] {text}", flush=True)


def pip(*arguments: str, **options) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    return subprocess.run(command, check=options.pop("check", True), **options)


def once(step: str, inputs: str, action) -> None:
    """Runs `action` unless it succeeded before with the same inputs under the same Python."""
    digest = hashlib.sha256(f"{sys.version}\n{inputs}".encode()).hexdigest()
    marker = MARKERS / step
    if marker.exists() and marker.read_text() == digest:
        return
    action()
    MARKERS.mkdir(exist_ok=True)
    marker.write_text(digest)


# ---- torch ----------------------------------------------------------------------------------------------------------


def usable_torch() -> str | None:
    """The version of the torch that this Python imports, if Lorica can be built on it."""
    probe = (
        "import os, torch, torch.utils; v = torch.__version__; n = tuple(int(p) for p in v.split('.')[:2]);"
        "ok = (2, 11) <= n <= (2, 13) and os.path.isdir(os.path.join(torch.utils.cmake_prefix_path, 'Torch'));"
        "print(v if ok else '')"
    )
    result = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True)
    return result.stdout.strip() or None if result.returncode == 0 else None


def has_nvidia_gpu() -> bool:
    if Path("/proc/driver/nvidia/version").exists():
        return True
    tool = shutil.which("nvidia-smi")
    return bool(tool) and subprocess.run([tool, "-L"], capture_output=True).returncode == 0


def is_cpu_build(metadata: dict, machine: str) -> bool:
    """Whether a torch wheel with this metadata runs without CUDA libraries: by its local version, else by what it requires."""
    if "+cpu" in metadata["version"]:
        return True
    if "+" in metadata["version"]:
        return False
    for requirement in metadata.get("requires_dist") or []:
        name, _, marker = requirement.partition(";")
        elsewhere = "platform_machine" in marker and machine not in marker
        if name.strip().lower().startswith(("nvidia-", "cuda-", "triton")) and "extra ==" not in marker and not elsewhere:
            return False
    return True


def vendor_cpu_index(metadata: dict) -> str | None:
    """The vendor's index of CPU wheels: asked for by LORICA_TORCH_INDEX, else `download.` at the project's own home page."""
    if os.environ.get("LORICA_TORCH_INDEX"):
        return os.environ["LORICA_TORCH_INDEX"]
    pages = [metadata.get("home_page") or ""]
    pages += [url.partition(",")[2].strip() for url in metadata.get("project_url") or [] if url.lower().startswith("homepage")]
    for page in pages:
        host = urlsplit(page).hostname
        if host:
            return f"https://download.{host.removeprefix('www.')}/whl/cpu"
    return None


def default_candidate(requirement: str) -> dict:
    """Metadata of the wheel that pip would take from its default indexes; nothing is installed."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        pip("install", "--dry-run", "--ignore-installed", "--no-deps", "--quiet", "--report", str(report), requirement)
        return json.loads(report.read_text())["install"][0]["metadata"]


def torch_attempts(requirement: str, metadata: dict, gpu: bool, machine: str) -> list[tuple[list[str], str]]:
    """pip arguments to try in order, each with what to tell the user."""
    version = metadata["version"]
    asked = os.environ.get("LORICA_TORCH_INDEX")
    default = ([requirement], f"torch {version} from pip's default index")
    if not asked and (gpu or is_cpu_build(metadata, machine)):
        kind = "about 200 MB" if is_cpu_build(metadata, machine) else "with its CUDA libraries, about 3 GB"
        return [(default[0], f"{default[1]} ({kind})")]
    index = vendor_cpu_index(metadata)
    attempts = []
    if index:
        attempts.append(([requirement, "--index-url", index], f"torch {version.partition('+')[0]} from {index} (about 200 MB)"))
    attempts.append((default[0], f"{default[1]} (a CUDA build, about 3 GB: the CPU index could not be used)"))
    return attempts


def install_torch(requirement: str) -> None:
    found = usable_torch()
    if found:
        say(f"torch {found} is there already")
        if "+cpu" in found and has_nvidia_gpu():
            say("it is a CPU build, so this machine's GPU will not be used; remove .venv, or that torch, for one with CUDA")
        return
    metadata = default_candidate(requirement)
    attempts = torch_attempts(requirement, metadata, has_nvidia_gpu(), platform.machine())
    for number, (arguments, description) in enumerate(attempts):
        say(f"downloading {description}")
        last = number == len(attempts) - 1
        # torch alone first: the vendor's index need not carry all of its dependencies.
        if pip("install", "--quiet", "--no-deps", *arguments, check=last).returncode == 0:
            break
    pip("install", "--quiet", requirement)
    if not usable_torch():
        sys.exit("[setup] torch was installed but can't be imported: run `.venv/bin/python -c 'import torch'` to see why")


# ---- the rest -------------------------------------------------------------------------------------------------------


def requirement_lines(path: Path) -> list[str]:
    lines = (line.strip() for line in path.read_text().splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def install_requirements(name: str, lines: list[str]) -> None:
    packages = dict.fromkeys(line.partition("==")[0] for line in lines)
    say(f"pip install from {name}: {', '.join(packages)}")
    # A file instead of arguments, because a line may hold an environment marker.
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as listing:
        listing.write("\n".join(lines) + "\n")
        listing.flush()
        pip("install", "--quiet", "-r", listing.name)


def install_tomlplusplus() -> None:
    """Unpacks toml++'s headers from a source archive on PyPI, and writes the package file that CMake looks for."""
    say(f"toml++ headers from the source archive of {TOMLPLUSPLUS}")
    prefix = Path(sys.prefix)
    with tempfile.TemporaryDirectory() as folder:
        pip("download", "--quiet", "--no-deps", "--no-binary", ":all:", "--no-binary", "pytomlpp", "--only-binary",
            "pybind11,setuptools,wheel", "--dest", folder, TOMLPLUSPLUS)
        archive = next(Path(folder).glob("*.tar.gz"))
        marker = "/third_party/tomlplusplus/include/"
        with tarfile.open(archive) as content:
            for member in content.getmembers():
                _, found, inner = member.name.partition(marker)
                if not found or not member.isfile() or ".." in Path(inner).parts:
                    continue
                target = prefix / "include" / inner
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content.extractfile(member).read())
    config = prefix / "lib" / "cmake" / "tomlplusplus" / "tomlplusplus-config.cmake"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(
        "if(NOT TARGET tomlplusplus::tomlplusplus)\n"
        "  add_library(tomlplusplus::tomlplusplus INTERFACE IMPORTED)\n"
        '  set_target_properties(tomlplusplus::tomlplusplus PROPERTIES\n'
        '    INTERFACE_INCLUDE_DIRECTORIES "${CMAKE_CURRENT_LIST_DIR}/../../../include")\n'
        "endif()\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tests", action="store_true", help="also requirements-test.txt")
    parser.add_argument("--bench", action="store_true", help="also requirements-bench.txt")
    parser.add_argument("--cmake", action="store_true", help="CMake from PyPI: the system's is missing or too old")
    parser.add_argument("--ninja", action="store_true", help="Ninja from PyPI")
    parser.add_argument("--tomlplusplus", action="store_true", help="toml++'s headers from PyPI")
    options = parser.parse_args()

    # `pip install --report` came with pip 22.2; Ubuntu 22.04's is older.
    once("pip", "22.3", lambda: pip("install", "--quiet", "pip>=22.3"))
    lines = requirement_lines(ROOT / "requirements.txt")
    torch = next(line for line in lines if line.startswith("torch=="))
    rest = [line for line in lines if line != torch]
    once("torch", torch, lambda: install_torch(torch))
    once("requirements", "\n".join(rest), lambda: install_requirements("requirements.txt", rest))
    for wanted, package in ((options.cmake, CMAKE), (options.ninja, NINJA)):
        if wanted:
            once(package.partition("=")[0], package, lambda package=package: install_requirements("PyPI", [package]))
    if options.tomlplusplus:
        once("tomlplusplus", TOMLPLUSPLUS, install_tomlplusplus)
    if options.tests:
        peers = requirement_lines(ROOT / "requirements-test.txt")
        once("tests", "\n".join(peers), lambda: install_requirements("requirements-test.txt", peers))
        # Its chat templates are files that tests/parity/test_jinja.py reads; what its code needs comes with --bench.
        trl = next(line for line in requirement_lines(ROOT / "requirements-bench.txt") if line.startswith("trl=="))
        once("trl", trl, lambda: pip("install", "--quiet", "--no-deps", trl))
    if options.bench:
        more = requirement_lines(ROOT / "requirements-bench.txt")
        once("bench", "\n".join(more), lambda: install_requirements("requirements-bench.txt", more))
    say("ready")


if __name__ == "__main__":
    main()
