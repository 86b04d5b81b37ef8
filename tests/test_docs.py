"""The documents are kept true: their code runs, their commands parse, their files exist."""

import ast
import dataclasses
import inspect
import itertools
import re
import shlex
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import yaml
from pydantic import BaseModel
from typer.testing import CliRunner

import lotlens
from lotlens.answering.fusing import EXCLUDED, SURE
from lotlens.answering.views import VIEWS
from lotlens.cli.app import build_app
from lotlens.cli.commands import COMMANDS
from lotlens.deliver.parity import EXACT, ROUGH
from lotlens.drawn.nasty import draw_nasty
from lotlens.drawn.negatives import KINDS as NEGATIVES
from lotlens.errors import InputError
from lotlens.improve.additions import MOST_WEIGHT
from lotlens.improve.outside import REASONS
from lotlens.judge import metrics
from lotlens.judge.blend import SMALLEST_SHARE
from lotlens.judge.compare import Comparison
from lotlens.judge.gain import DOUBT, SMALLEST_GAIN
from lotlens.market.copies import FEWEST_FOR_STOCK
from lotlens.market.prices import FEWEST_TO_FIT, LEVELS, Method
from lotlens.market.ranking import Terms
from lotlens.photos.decisions import VERDICTS
from lotlens.photos.formats import Format
from lotlens.photos.quality import FLAWS
from lotlens.photos.sources import check_trainable, open_lot
from lotlens.photos.tables import ID_COLUMNS, LABEL_COLUMNS, LISTING_COLUMNS
from lotlens.recipes import schema
from lotlens.recipes.loading import parse_recipe
from lotlens.records import METHODS
from lotlens.refusal.verdicts import KINDS
from lotlens.verbs.export import _MOST_CALIBRATED, _MOST_CHECKED
from lotlens.verbs.predict import _PIECE
from lotlens.verbs.sample import draw_sample

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
INDEX = (ROOT / "docs" / "README.md").read_text("utf-8")
RUSSIAN = (ROOT / "README.ru.md").read_text("utf-8")
GUIDE = (ROOT / "docs" / "guide" / "python.md").read_text("utf-8")
SWEEPS = (ROOT / "docs" / "guide" / "sweeps.md").read_text("utf-8")
JUDGING = (ROOT / "docs" / "guide" / "judging.md").read_text("utf-8")
VIEWS_PAGE = (ROOT / "docs" / "guide" / "views-and-ensembles.md").read_text("utf-8")
REFUSAL = (ROOT / "docs" / "guide" / "refusal.md").read_text("utf-8")
REPORT = (ROOT / "docs" / "guide" / "report.md").read_text("utf-8")
OUTSIDE = (ROOT / "docs" / "guide" / "outside.md").read_text("utf-8")
DOUBTS = (ROOT / "docs" / "guide" / "doubts.md").read_text("utf-8")
REVIEW = (ROOT / "docs" / "guide" / "review.md").read_text("utf-8")
SERVE = (ROOT / "docs" / "guide" / "serve.md").read_text("utf-8")
EXPORT = (ROOT / "docs" / "guide" / "export.md").read_text("utf-8")
RECIPES = (ROOT / "docs" / "guide" / "recipes.md").read_text("utf-8")
SCAN = (ROOT / "docs" / "guide" / "scan.md").read_text("utf-8")
DATA = (ROOT / "docs" / "guide" / "data.md").read_text("utf-8")


def find_code(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_the_guides_code_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    for number, block in enumerate(find_code(GUIDE, "python")):
        exec(compile(block, f"docs/guide/python.md, block {number + 1}", "exec"), names)
    said = capsys.readouterr().out
    assert "did you mean 'height'" in said
    assert (tmp_path / "run" / "report.html").is_file()


def lay_files(block: str) -> None:
    """Lay the files of a block of data.md: a path a line, with the rows of a table behind it."""
    for number, line in enumerate(block.splitlines()):
        pattern, *rows = line.split()
        braced = [part.split(",") for part in re.findall(r"{(.*?)}", pattern)]
        for parts in itertools.product(*braced):
            path = Path(re.sub("{.*?}", "{}", pattern).format(*parts))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n".join(rows) or f"{path} {number}", "utf-8")


@pytest.mark.parametrize(
    ("files", "kind", "said"),
    re.findall(r"```files\n(.*?)```\n\n```(reading|error|refused)\n(.*?)```", DATA, re.DOTALL),
)
def test_the_page_on_data_is_true(files, kind, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lay_files(files)
    if kind == "error":
        with pytest.raises(InputError) as caught:
            open_lot(Path("cars"))
        assert str(caught.value) == said.strip()
    elif kind == "refused":
        with pytest.raises(InputError) as caught:
            check_trainable(open_lot(Path("cars")))
        assert str(caught.value) == said.strip()
    else:
        assert f"{open_lot(Path('cars')).reading}\n" == said


def test_the_page_on_data_names_every_column_word_and_format():
    for name in (*ID_COLUMNS, *LABEL_COLUMNS, *LISTING_COLUMNS):
        assert f"`{name}`" in DATA, name
    assert len(re.findall("```files", DATA)) == len(
        re.findall("```(?:reading|error|refused)", DATA)
    )
    for name in get_args(Format):
        assert {"PNM": "PPM"}.get(name, name) in DATA, name


def test_the_page_on_scans_states_what_the_code_does():
    terms = Terms()
    assert f"`--haggle` is {terms.haggle:g} and `--costs` {terms.costs:g}" in SCAN
    assert f"below {100 * terms.too_cheap:.0f} % of the usual price" in SCAN
    assert f"upper end is {terms.widest:g} times its lower one" in SCAN
    assert terms.fewest_like == 5
    assert "fewer than five others" in SCAN
    told = " ".join(SCAN.split())
    assert f"sure by {100 * SURE:.0f} %, and give the claimed model {100 * EXCLUDED:.0f} %" in told
    assert f"from {FEWEST_TO_FIT} adverts on" in SCAN
    assert FEWEST_FOR_STOCK == 4
    assert "from four cars on" in SCAN
    assert LEVELS == (0.8, 0.9)
    for method in get_args(Method):
        assert method == "none" or f"`{method}`" in SCAN, method


def test_the_pages_one_line_scans_a_drawn_market(tiny_run, tmp_path, monkeypatch):
    (line,) = (line for line in SCAN.splitlines() if "cars/market/listings.csv" in line)
    draw_sample(tmp_path / "cars", num_train=40, num_test=20, listings="en")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "cars-quick-1").symlink_to(tiny_run.path)
    monkeypatch.chdir(tmp_path)
    said = CliRunner().invoke(build_app(), shlex.split(line)[1:])
    assert said.exit_code == 0, said.output
    assert "adverts are worth a call" in said.output
    with (tmp_path / "cars" / "market" / "truth.csv").open(encoding="utf-8") as truth:
        assert len((tmp_path / "deals" / "deals.csv").read_text("utf-8").splitlines()) == len(
            truth.readlines()
        )


def test_the_readmes_python_uses_the_real_verbs():
    for block in find_code(README + SWEEPS + VIEWS_PAGE + REFUSAL + OUTSIDE, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "lotlens":
                assert node.attr in lotlens.__all__


@pytest.mark.parametrize(
    "line",
    [
        line
        for path in (*ROOT.glob("README*.md"), *ROOT.glob("docs/**/*.md"))
        for block in find_code(path.read_text("utf-8"), "sh")
        for line in block.splitlines()
        if line.startswith("lotlens ")
    ],
)
def test_the_documents_commands_have_the_options_they_show(line):
    words = shlex.split(line.partition("#")[0])[1:]
    result = CliRunner().invoke(build_app(), [words[0], "--help"], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    for option in (word for word in words if word.startswith("--")):
        assert option in result.output


def test_every_page_of_the_guide_is_in_its_index():
    linked = set(re.findall(r"\]\(guide/([\w-]+\.md)\)", INDEX))
    assert linked == {path.name for path in (ROOT / "docs" / "guide").glob("*.md")}


def test_every_command_is_in_the_index():
    told = INDEX.partition("## Every command in one line")[2]
    assert set(re.findall(r"^lotlens ([\w-]+)", told, re.MULTILINE)) == set(COMMANDS)


def name_anchor(heading):
    """As a heading's anchor is named by what shows these pages."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize(
    "path",
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "benchmarks" / "RESULTS.md"],
    ids=lambda path: path.relative_to(ROOT).as_posix(),
)
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text("utf-8")):
        if target.startswith(("http:", "https:")):
            continue
        name, _, anchor = target.partition("#")
        page = path.parent / name if name else path
        assert page.exists(), target
        if anchor:
            headings = re.findall("^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
            assert anchor in map(name_anchor, headings), target


def test_the_readmes_picture_is_small():
    (name,) = re.findall(r"!\[.+\]\((.*)\)", README)
    assert (ROOT / name).stat().st_size < 150_000


def test_the_managers_pictures_are_there_and_small():
    path = ROOT / "docs" / "ru" / "desk.md"
    names = re.findall(r'<img src="([^"]+)"', path.read_text("utf-8"))
    assert sorted(names) == sorted(one.name for one in path.parent.glob("desk-*.png"))
    assert all((path.parent / name).stat().st_size < 100_000 for name in names)


def read_tree():
    """Paths below lotlens/ of all modules that the tree in CONTRIBUTING.md names, room by room."""
    tree = CONTRIBUTING.partition("## What lies where")[2]
    named, room = set(), ""
    for line in tree.partition("```")[2].splitlines():
        depth = len(line) - len(line.lstrip())
        if depth == 2:
            folder = re.match(r"(\w+)/", line.strip())
            room = folder[1] if folder else ""
        elif depth == 0:
            room = ""
        words = line.split()
        # A line names one module and says what it does, or several modules and nothing else.
        if words and (all(word.endswith(".py") for word in words) or words[0].endswith(".py")):
            modules = words if words[-1].endswith(".py") else words[:1]
            named |= {Path(room if depth == 4 else "", module) for module in modules}
    return named


def test_the_file_tree_is_the_tree():
    package = ROOT / "lotlens"
    own = {path.relative_to(package) for path in package.rglob("*.py")}
    assert read_tree() == {path for path in own if path.name != "__init__.py"}


def test_every_command_has_a_verb_of_its_name():
    for command in COMMANDS:
        assert Path("verbs", command.replace("-", "_") + ".py") in read_tree(), command


def test_the_sweeps_page_names_every_column_and_file():
    columns = {field.name for field in dataclasses.fields(Comparison)} - {"num_photos", "num_seeds"}
    columns |= {"seeds", "photos", "accuracy", "deviation", "lowest", "highest", "minutes"}
    columns |= {"macro_f1", "log_loss", "calibration_error", "chosen", "wall_s", "cpu_s", "status"}
    files = {"runs.csv", "summary.csv", "comparisons.csv", "sweep.svg", "mlflow.db", "split.csv"}
    for name in columns | files:
        assert f"`{name}`" in SWEEPS, name


def test_the_judging_page_names_every_figure():
    for name in (value for key, value in vars(metrics).items() if key.isupper()):
        if isinstance(name, str):
            assert f"| {name} |" in JUDGING


def test_the_page_on_views_names_every_view_and_the_rules_figures():
    for view in VIEWS:
        assert f"`{view}`" in VIEWS_PAGE, view
    for figure in (f"{SMALLEST_GAIN:g} nats", f"limit: {DOUBT:g},", f"than {SMALLEST_SHARE:g} are"):
        assert figure in VIEWS_PAGE, figure


def test_the_refusal_page_names_every_verdict_method_and_flaw():
    for name in (*KINDS, *METHODS, *FLAWS, *NEGATIVES):
        assert f"`{name}`" in REFUSAL, name
    for column in ("verdict", "reason", "candidates"):
        assert f"`{column}`" in REFUSAL, column


def test_the_reports_page_has_a_heading_for_each_of_the_report():
    template = (ROOT / "lotlens" / "report" / "page.html.jinja").read_text("utf-8")
    headings = re.findall(r"<h2>{% trans %}(.*?){% endtrans %}</h2>", template)
    assert re.findall("^## (.*)$", REPORT, re.MULTILINE) == headings


def test_the_review_page_names_every_verdict_column_and_key():
    for name in (*VERDICTS, "Id", "Decision", "Label", "Was", "Time", "relabelled", "left-out"):
        assert f"`{name}`" in REVIEW, name
    script = (ROOT / "lotlens" / "web" / "review.js").read_text("utf-8")
    letters = re.search(r"const LETTERS = {(.*)}", script).group(1)
    for letter in re.findall(r"(\w): ", letters):
        assert f"| `{letter.upper()}`" in REVIEW, letter


def test_the_page_on_serving_names_every_verdict_code_and_bound():
    from lotlens.web.batching import MOST_IN_BATCH, Bounds
    from lotlens.web.gate import Rate
    from lotlens.web.problems import PROBLEMS
    from lotlens.web.store import MOST_CHECKS
    from lotlens.web.uploads import FormBounds

    rows = [line for line in SERVE.splitlines() if line.startswith("| `")]
    for kind in KINDS:
        assert any(row.startswith(f"| `{kind}` |") for row in rows), kind
    for code, problem in PROBLEMS.items():
        assert str(problem.status) in next(row for row in rows if f"`{code}`" in row), code
    text = " ".join(SERVE.split())
    bounds, form = Bounds(), FormBounds()
    assert (bounds.most_pixels, MOST_IN_BATCH, form.patience_s) == (10**9, 8, 120)
    megabytes = [size // 10**6 for size in (form.most_photo_bytes, form.most_body_bytes)]
    assert f"{bounds.most_photos} photos, a billion pixels and" in text
    assert f"pixels and {bounds.most_bytes // 10**6} MB of bodies" in text
    assert f"A photo has {megabytes[0]} MB at most, a request {megabytes[1]} MB," in text
    assert f"{form.most_photos} photos and two minutes" in text
    assert f"the last {MOST_CHECKS} are remembered" in text
    assert f"{Rate().burst:g} requests at once and {Rate().per_minute:g} a minute" in text


def test_the_page_on_serving_names_the_bounds_of_lists():
    from lotlens.web.batching import MOST_BEHIND
    from lotlens.web.job_answers import PIECE
    from lotlens.web.job_files import MOST_TRIES, JobBounds

    text, bounds = " ".join(SERVE.partition("## Many photos")[2].split()), JobBounds()
    form = bounds.form
    assert (PIECE, MOST_BEHIND, MOST_TRIES, form.patience_s) == (16, 2, 3, 3600)
    assert "written sixteen photos at a time" in text
    assert "two photos a worker at a time" in text
    assert "ended three times" in text
    assert "An hour is given" in text
    assert f"Up to {form.most_photos:,} photos and {form.most_body_bytes // 10**9} GB" in text
    assert f"more than {bounds.most_photo_bytes // 10**6} MB, is a row" in text
    assert bounds.photos_stay_s == 24 * 3600
    assert "Photos are deleted 24 hours after" in text
    assert f"with its table {bounds.rows_stay_s / 86400:.0f} days after" in text
    assert (bounds.most_waiting, bounds.spare_bytes) == (20, 10**9)
    assert f"Twenty lists may wait, and {bounds.most_kept_bytes // 10**9} GB of photos" in text


def test_make_targets_in_the_docs_exist():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    told = "\n".join((README, RUSSIAN, CONTRIBUTING))
    for target in re.findall(r"^make ([a-z]+)", told, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_ci_runs_what_the_readme_tells():
    assert "exec make test" in (ROOT / ".ci" / "run").read_text("utf-8")


def test_every_public_function_has_a_docstring():
    for name in lotlens.__all__:
        thing = getattr(lotlens, name)
        if callable(thing):
            assert inspect.getdoc(thing), name


def test_built_in_recipes_are_listed_in_the_readme():
    for path in (ROOT / "lotlens" / "recipes").glob("*.yaml"):
        assert yaml.safe_load(path.read_text("utf-8"))["name"] in README
        assert f"`{path.stem}`" in RECIPES


@pytest.mark.parametrize("block", find_code(RECIPES, "yaml"))
def test_the_guides_recipes_are_valid(block):
    values = yaml.safe_load(block)
    recipe = parse_recipe(values)
    assert recipe.name == values["name"]


def test_the_guide_names_every_key_of_a_recipe_and_every_choice():
    text = re.sub(r"```.*?```", "", RECIPES, flags=re.DOTALL)
    named = set(re.findall(r"[\w-]+", " ".join(re.findall(r"`([^`\n]+)`", text))))
    parts = [
        part
        for _, part in inspect.getmembers(schema, inspect.isclass)
        if issubclass(part, BaseModel) and part.__module__ == schema.__name__
    ]
    assert schema.Finetune in parts
    for part in parts:
        for key, field in part.model_fields.items():
            assert key in named, f"{part.__name__}.{key}"
            for choice in re.findall(r"'([^']+)'[],]", str(field.annotation)):
                assert choice in named, f"{part.__name__}.{key}: {choice}"
    assert named.issuperset(schema.OPTIMISERS)


def test_the_page_on_doubts_names_every_reason():
    from lotlens.improve import doubts

    for reason in doubts.REASONS:
        assert f"| {reason} |" in DOUBTS, reason
    for column in doubts._COLUMNS:
        assert column in DOUBTS, column


def test_the_page_on_outside_photos_names_every_reason():
    for reason in REASONS:
        assert f"`{reason}`" in OUTSIDE, reason
    assert f", {MOST_WEIGHT:g} times at most" in " ".join(OUTSIDE.split())


def test_the_guide_states_what_an_export_is_held_to():
    rows = {line.split("|")[1].strip(): line for line in EXPORT.splitlines() if "|" in line}
    told = {
        "difference": next(row for name, row in rows.items() if name.startswith("logits")),
        "same": next(row for name, row in rows.items() if "`--same`" in name),
        "lost": next(row for name, row in rows.items() if "`--lost`" in name),
    }
    for name, row in told.items():
        exact, rough = (cell.strip() for cell in row.split("|")[2:4])
        assert float(exact) == getattr(EXACT, name)
        if name != "difference":
            assert float(rough) == getattr(ROUGH, name)
    photo = np.zeros((48, 64, 3), np.uint8)
    assert f"- {len(list(draw_nasty(photo)))} photos made to be read wrongly" in EXPORT
    assert f"up to {_MOST_CHECKED} photos" in EXPORT
    assert f"pieces of {_PIECE} photos" in EXPORT
    assert f"on {_MOST_CALIBRATED} training photos" in EXPORT
