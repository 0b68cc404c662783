"""The crate of the native core passes its own tests, and names the exact versions that it is built from."""

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.support.missing import missing

ROOT = Path(__file__).parents[1]
CRATE = ROOT / "native"


@pytest.mark.slow
def test_the_tests_of_the_crate_pass() -> None:
    cargo = shutil.which("cargo") or missing("cargo", "it comes with Rust, which is not installed")
    environment = {**os.environ, "CARGO_TARGET_DIR": str(ROOT / ".cache" / "native-test")}
    done = subprocess.run(
        [cargo, "test", "--lib", "--quiet"], cwd=CRATE, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_manifest_names_exact_versions_and_no_address() -> None:
    text = (CRATE / "Cargo.toml").read_text()
    manifest = tomllib.loads(text)
    wanted = [one if isinstance(one, str) else one["version"] for one in manifest["dependencies"].values()]
    assert wanted
    assert all(re.fullmatch(r"=\d+\.\d+\.\d+", version) for version in wanted)
    assert "://" not in text


@pytest.mark.parametrize(
    ("is_built", "has_rust", "installs"), [(False, True, True), (False, False, False), (True, True, False)]
)
def test_rust_that_comes_later_builds_the_core(tmp_path: Path, is_built: bool, has_rust: bool, installs: bool) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("pyproject.toml", ".constraints/build.txt", ".constraints/test.txt", ".venv/.installed", "bin/cargo"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch(0o755)
    if not has_rust:
        (tmp_path / "bin/cargo").unlink()
    if not is_built:
        (tmp_path / ".venv/.installed-without-rust").touch()
    for name in ("make", "sh"):
        (tmp_path / "bin" / name).symlink_to(shutil.which(name) or name)
    make = ["make", "--dry-run", "--silent", "install"]
    done = subprocess.run(
        make, cwd=tmp_path, env={"PATH": str(tmp_path / "bin")}, capture_output=True, text=True, check=True
    )
    assert ("-e ." in done.stdout) is installs


def test_the_crate_has_no_unsafe_code_of_its_own() -> None:
    """The compiler refuses it."""
    assert tomllib.loads((CRATE / "Cargo.toml").read_text())["lints"]["rust"]["unsafe_code"] == "forbid"
    assert not [path for path in CRATE.rglob("*.rs") if re.search(r"\bunsafe\b(?!`)", path.read_text())]


def test_no_lock_file_is_kept() -> None:
    """It contains the address of the registry."""
    assert "/native/Cargo.lock" in (ROOT / ".gitignore").read_text().splitlines()
