"""What the repository's files may and may not hold."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[2]
MODULES = sorted((ROOT / "src").rglob("*.py"))
LONGEST = 500

# Written in pieces, so that this file does not find itself.
REGISTRY_HOSTS = ["pypi" + ".org", "python" + "hosted.org", "registry." + "npmjs", "deb." + "debian.org"]
MACHINE_PATHS = [
    "/" + "work/",
    "/" + "root/",
    "/" + "home/",
    "/" + "Users/",
]
FORBIDDEN = re.compile("|".join([*map(re.escape, REGISTRY_HOSTS), *(rf"(?<![\w.*-]){p}\w" for p in MACHINE_PATHS)]))


def committed_files() -> list[Path]:
    """The files of the next commit: those that git has, and the new ones that it does not ignore."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listing = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    except (FileNotFoundError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    return [path for name in listing.split("\0") if name and (path := ROOT / name).is_file()]


def test_no_file_names_a_package_registry_or_a_path_of_one_machine() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:120]}"
        for path in committed_files()
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1)
        if FORBIDDEN.search(line)
    ]
    assert found == []


@pytest.mark.parametrize(
    "line",
    [
        "--index-url https://" + "pypi" + ".org/simple",
        "-e /" + "work/main",
        "/" + "home/me/project",
        "path = '/" + "root/x'",
    ],
)
def test_the_rule_above_catches(line: str) -> None:
    assert FORBIDDEN.search(line)


def test_no_module_is_longer_than_a_reader_can_hold() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in MODULES}
    assert {name: length for name, length in lengths.items() if length > LONGEST} == {}


def test_every_module_says_what_it_is() -> None:
    silent = [str(path.relative_to(ROOT)) for path in MODULES if not ast.get_docstring(ast.parse(path.read_text()))]
    assert silent == []


def test_the_pins_name_one_version_each_and_nothing_but_packages() -> None:
    for path in (ROOT / "requirements").glob("*.txt"):
        pins = [line for line in path.read_text().splitlines() if line and not line.lstrip().startswith("#")]
        strange = [line for line in pins if not re.fullmatch(r"[a-z0-9][a-z0-9._-]*==[^\s;]+( ; .+)?", line)]
        assert strange == [], path.name


@pytest.mark.parametrize("part", ["demo.txt", "example.txt"])
def test_the_demo_and_the_example_install_a_part_of_what_the_tests_install(part: str) -> None:
    """`make test` takes its environment for one that can run both."""

    def pins(name: str) -> set[str]:
        lines = (ROOT / "requirements" / name).read_text().splitlines()
        return {line.partition(" ;")[0] for line in lines if "==" in line and not line.lstrip().startswith("#")}

    assert pins(part) <= pins("dev.txt")
