"""The shape of the package, read from its imports: which way they point, and what stays at the edge."""

import ast
from pathlib import Path

import pytest

import batch

ROOT = Path(batch.__file__).parent
FILES = {
    ".".join(("batch", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in sorted(ROOT.rglob("*.py"))
}
TEXTS = {name: path.read_text(encoding="utf-8") for name, path in FILES.items()}
TREES = {name: ast.parse(text) for name, text in TEXTS.items()}
STAGES = ("intake", "remote", "results")
SHARED = {"errors", "model", "config", "times", "parameters", "table", "pillow", "ledger"}


def for_types(node):
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def imports(module, *, types=False):
    """Yield (imported module, line) of everything a module imports, also inside functions."""
    waiting = [TREES[module]]
    while waiting:
        node = waiting.pop()
        if for_types(node) and not types:
            waiting.extend(node.orelse)
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from _of(node, module)
        else:
            waiting.extend(ast.iter_child_nodes(node))


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


def importers(name, **kind):
    return {
        module
        for module in TREES
        for imported, _ in imports(module, **kind)
        if imported == name or imported.startswith(name + ".")
    }


def test_httpx_is_imported_at_the_border_only():
    """The local service fetches input images as a client of its own; it shares nothing with the journey."""
    assert importers("httpx", types=True) == {"batch.remote.api"}
    assert {name for name in importers("aiohttp") if part(name) != "local"} == {"batch.remote.pool"}


def test_sqlite_stays_with_the_ledger():
    assert {module for module in importers("sqlite3") if part(module) != "ledger"} <= {"batch.plan"}


@pytest.mark.parametrize("stage", STAGES)
def test_stages_do_not_import_each_other(stage):
    crossing = [
        f"{module}:{line} imports {imported}"
        for module in TREES
        if part(module) == stage
        for imported, line in imports(module, types=True)
        if part(imported) in set(STAGES) - {stage}
    ]
    assert crossing == []


@pytest.mark.parametrize("stage", [*STAGES, "ledger"])
def test_a_stage_knows_what_is_below_it_only(stage):
    """Of the rest of the package: errors, model, config, times, parameters, the shared columns, the ledger."""
    allowed = (SHARED | {stage, "folder"}) - ({"table"} if stage == "ledger" else set())
    upward = [
        f"{module}:{line} imports {imported}"
        for module in TREES
        if part(module) == stage
        for imported, line in imports(module)
        if imported.startswith("batch.") and part(imported) not in allowed
    ]
    assert upward == []


def test_the_local_service_shares_the_parameters_and_nothing_else():
    shared = {
        imported
        for module in TREES
        if part(module) == "local"
        for imported, _ in imports(module, types=True)
        if imported.split(".")[0] == "batch" and part(imported) != "local"
    }
    assert shared == {"batch.parameters"}


def test_the_ground_imports_no_stage():
    for module in ("errors", "model", "config", "times", "parameters"):
        above = {part(imported) for imported, _ in imports(f"batch.{module}") if imported.startswith("batch")}
        assert above <= {"errors", "model", "parameters"}, module


def test_imports_go_round_in_no_circle():
    """Imports that only types need, and those inside functions, run later and may."""
    edges = {
        module: {
            imported
            for node in TREES[module].body
            if isinstance(node, ast.Import | ast.ImportFrom)
            for imported, _ in _of(node, module)
            if imported in TREES and imported != module
        }
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


def names(module):
    """Yield (name, line) of every name and attribute a module uses."""
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.Name):
            yield node.id, node.lineno
        elif isinstance(node, ast.Attribute):
            yield ast.unparse(node), node.lineno


@pytest.mark.parametrize(
    "name", ["os.environ", "os.getenv", "print", "input", "sys.stdout", "sys.stderr", "sys.argv"]
)
def test_only_the_command_line_prints_or_reads_the_environment(name):
    """The local service's own processes are an edge too."""
    users = {module for module in TREES for used, _ in names(module) if used == name}
    assert {module for module in users if part(module) not in {"cli", "local"}} == set()


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


def test_every_module_says_what_it_owns():
    assert [module for module, tree in TREES.items() if not ast.get_docstring(tree)] == []
