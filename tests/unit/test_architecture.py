"""The shape of the package, read from its imports: which way they point, and what stays at the edge."""

import ast
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest

import batch

ROOT = Path(batch.__file__).parent
FILES = {
    ".".join(("batch", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in sorted(ROOT.rglob("*.py"))
}
TEXTS = {name: path.read_text(encoding="utf-8") for name, path in FILES.items()}


class Trees(Mapping):
    """The syntax of each module, parsed when a test asks for it: collecting the tests parses none."""

    def __getitem__(self, name):
        return _parsed(name)

    def __iter__(self):
        return iter(TEXTS)

    def __contains__(self, name):
        return name in TEXTS

    def __len__(self):
        return len(TEXTS)


@cache
def _parsed(name):
    return ast.parse(TEXTS[name])


TREES = Trees()
FLOORS = (
    {"core", "vision"},
    {"ledger", "manifest", "pacing", "server"},
    {"output", "client"},
    {"planning"},
    {"execution"},
    {"maintenance"},
    {"cli", "local"},
)
"""The folders of the package, from the ground up: each imports only folders on floors below its own.

`local` is the former name of `server`, kept for one version.
"""


@cache
def imports(module):
    """Return (imported module, line) of everything a module imports, also for types and inside functions."""
    return [
        found
        for node in ast.walk(TREES[module])
        if isinstance(node, ast.Import | ast.ImportFrom)
        for found in _of(node, module)
    ]


def _of(node, module):
    """Return what one statement imports: a module, where a name is one."""
    if isinstance(node, ast.Import):
        return [(alias.name, node.lineno) for alias in node.names]
    source = node.module or ""
    if node.level:
        package = FILES[module].name == "__init__.py"
        above = module.split(".")[: len(module.split(".")) - node.level + package]
        source = ".".join([*above, *filter(None, [node.module])])
    wholes = [f"{source}.{alias.name}" for alias in node.names]
    return [(whole if whole in TREES else source, node.lineno) for whole in wholes]


def part(module):
    """Return the folder or file of the package that a module belongs to."""
    return module.split(".")[1] if module.count(".") else ""


def importers(name):
    return {
        module
        for module in TREES
        for imported, _ in imports(module)
        if imported == name or imported.startswith(name + ".")
    }


def test_every_folder_has_its_floor():
    """No loose module lies at the top but the package's face and `python -m batch`."""
    assert {part(module) for module in TREES} - {"", "__main__"} == set().union(*FLOORS)


def test_a_folder_imports_only_folders_below_it():
    floor = {name: number for number, names in enumerate(FLOORS) for name in names}
    upward = [
        f"{module}:{line} imports {imported}"
        for module in TREES
        if part(module) in floor
        for imported, line in imports(module)
        if imported.startswith("batch.") and part(imported) != part(module)
        if floor[part(imported)] >= floor[part(module)]
    ]
    assert upward == []


def test_httpx_and_aiohttp_are_imported_at_the_border_only():
    """The server fetches input images as a client of its own; it shares nothing with the pipeline."""
    assert importers("httpx") == {"batch.client.http"}
    assert {name for name in importers("aiohttp") if part(name) != "server"} == {"batch.client.http"}


def test_all_sql_is_in_the_ledger():
    """No other folder imports sqlite3, runs a statement or reaches for the ledger's connection."""
    statements = {
        f"{module}:{node.lineno}"
        for module, tree in TREES.items()
        if part(module) != "ledger"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and (
            node.attr in {"execute", "executemany", "executescript"}
            or ast.unparse(node).endswith("ledger.connection")
        )
    }
    assert {module for module in importers("sqlite3") if part(module) != "ledger"} == set()
    assert statements == set()


def test_what_processes_a_job_knows_the_ledger_by_its_operations_only():
    """Another store can take the place of the SQLite file: only what plans, adopts and reports needs the file."""
    users = {name for name in importers("batch.ledger.ledger") if part(name) == "execution"}
    assert users <= {"batch.execution.account_check", "batch.execution.dispatcher", "batch.execution.runner"}
    assert importers("batch.ledger.connection") & {name for name in TREES if part(name) == "execution"} <= {
        "batch.execution.runner"
    }


def test_the_server_shares_the_parameters_and_vision_and_nothing_else():
    shared = {
        imported
        for module in TREES
        if part(module) == "server"
        for imported, _ in imports(module)
        if imported.split(".")[0] == "batch" and part(imported) != "server"
    }
    assert {name for name in shared if part(name) != "vision"} == {"batch.core.parameters"}


def test_imports_go_round_in_no_circle():
    """Imports for types and inside functions count: two modules that need each other cannot be read apart."""
    edges = {
        module: {imported for imported, _ in imports(module) if imported in TREES and imported != module}
        for module in TREES
    }
    done, path = set(), []

    def visit(module):
        assert module not in path, " → ".join([*path[path.index(module) :], module])
        if module in done:
            return
        path.append(module)
        for imported in sorted(edges[module]):
            visit(imported)
        path.pop()
        done.add(module)

    for module in edges:
        visit(module)


@cache
def names(module):
    """Return (name, line) of every name and attribute a module uses."""
    return [
        (node.id if isinstance(node, ast.Name) else ast.unparse(node), node.lineno)
        for node in ast.walk(TREES[module])
        if isinstance(node, ast.Name | ast.Attribute)
    ]


@pytest.mark.parametrize(
    "name", ["os.environ", "os.getenv", "print", "input", "sys.stdout", "sys.stderr", "sys.argv"]
)
def test_only_the_command_line_prints_or_reads_the_environment(name):
    """The local service's own processes are an edge too."""
    users = {module for module in TREES for used, _ in names(module) if used == name}
    assert {module for module in users if part(module) not in {"cli", "server"}} == set()


def test_an_import_inside_a_function_says_why():
    """On its line, or on the first line of its block."""
    silent = []
    for module, tree in TREES.items():
        lines = TEXTS[module].splitlines()
        for function in ast.walk(tree):
            if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            inside = [node for node in ast.walk(function) if isinstance(node, ast.Import | ast.ImportFrom)]
            told = {
                node.end_lineno for node in inside if lines[node.lineno - 1].partition("PLC0415")[2].strip()
            }
            for node in sorted(inside, key=lambda node: node.lineno):
                if node.lineno - 1 in told:
                    told.add(node.end_lineno)
                if node.end_lineno not in told:
                    silent.append(f"{module}:{node.lineno}")
    assert silent == []


def assigned(tree):
    """Yield (name, value) of each name that a module gives a value at its top."""
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            for target in getattr(node, "targets", None) or [node.target]:
                if isinstance(target, ast.Name):
                    yield target.id, node.value


def test_the_name_of_a_type_has_one_meaning():
    """Of a class or an alias; but for what the service and its stand-in call alike, which must not share code."""
    alike = {
        "Completed": {
            "batch.client.responses",
            "batch.server.simulation.jobs",
        },  # the API's own words for a job's end
        "Failed": {"batch.client.responses", "batch.server.simulation.jobs"},
        "State": {"batch.ledger.states", "batch.server.simulation.jobs"},  # of our job, and of the service's
    }
    homes = {}
    for module, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                homes.setdefault(node.name, set()).add(module)
        for name, value in assigned(tree):
            if re.fullmatch(r"_?[A-Z]+[a-z]\w*", name) and not isinstance(
                value, ast.Call
            ):  # no type variable
                homes.setdefault(name, set()).add(module)
    assert {name: places for name, places in homes.items() if len(places) > 1} == alike


def test_a_constant_has_one_meaning():
    """The server is apart: it shares none with its clients."""
    values = {}
    for module in (name for name in TREES if part(name) != "server"):
        for name, value in assigned(TREES[module]):
            if re.fullmatch(r"[A-Z][A-Z0-9_]+", name):
                values.setdefault(name, {})[module] = ast.unparse(value)
    twice = {name: sorted(homes) for name, homes in values.items() if len(set(homes.values())) > 1}
    assert twice == {}


def test_every_module_says_what_it_owns():
    assert [module for module, tree in TREES.items() if not ast.get_docstring(tree)] == []
