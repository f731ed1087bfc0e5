"""The wheel: what an installation has beside the code."""

import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

from tests import services

ROOT = Path(__file__).parents[1]
STEPS = """
from pathlib import Path
from flows.runbook import first_steps
print(sum(len(first_steps(Path(), f"docs/runbooks/{name}.md")) for name in %r))
"""
pytestmark = pytest.mark.slow


@pytest.fixture
def wheel(tmp_path):
    """Build the wheel from a copy of the sources, without the decoder in C, which it may lack."""
    if int(version("setuptools").partition(".")[0]) < 77:
        services.missing("setuptools")
    source = tmp_path / "source"
    for name in ("connectors", "flows", "sinks", "docs/runbooks"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.so", "*.c"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run([*command, "-w", tmp_path, source], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (built,) = tmp_path.glob("*.whl")
    return built


def test_the_runbooks_of_the_built_in_rules_are_found_where_the_wheel_is_installed(wheel, tmp_path):
    rules = tomllib.loads((ROOT / "flows" / "builtin.toml").read_text(encoding="utf-8"))["rule"]
    names = [Path(rule["runbook"]).stem for rule in rules]
    place = tmp_path / "installed"
    venv.create(place)
    python = place / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, wheel], check=True)
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "-t", tmp_path / "t", wheel], check=True
    )
    script = STEPS % names
    found = [
        subprocess.run([path, "-c", script], cwd=tmp_path, env=env, capture_output=True, text=True, check=True).stdout
        for path, env in ((python, {}), (sys.executable, {"PYTHONPATH": str(tmp_path / "t")}))
    ]
    assert found == [f"{3 * len(names)}\n"] * 2


def test_pages_find_their_script_style_and_licence_where_the_wheel_is_installed(wheel):
    with zipfile.ZipFile(wheel) as held:
        names = {name for name in held.namelist() if name.startswith("sinks/web/")}
        assert held.read("sinks/web/charts.js") == (ROOT / "sinks" / "web" / "charts.js").read_bytes()
    assert names == {str(path.relative_to(ROOT)) for path in (ROOT / "sinks" / "web").rglob("*") if path.is_file()}
