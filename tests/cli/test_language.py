"""The screen in Russian: no English among what a command says, and one way to ask for it."""

import re
import string

import pytest

from lotlens.cli import screen
from lotlens.cli.commands import COMMANDS
from lotlens.cli.screen import VOICE, spell, translate, translate_word
from lotlens.report.language import load_language
from tests.cli.conftest import run

NAMES = re.compile(
    r"lotlens [^\n]*?(?=   \(|\n|$)"  # a command to go on with
    r"|\S*[/.]\S*"  # paths and files
    r"|--[a-z]+|log loss|top-2|F1|Ctrl-C|MB|torch|onnx-fp32|fp32|model"
)


@pytest.fixture(autouse=True)
def _russian(monkeypatch):
    monkeypatch.setenv("LOTLENS_LANG", "ru")
    monkeypatch.setattr(VOICE, "lang", None)
    yield
    VOICE.lang = None


def find_english(text, *names):
    """Latin words that are no names, commands or paths."""
    for name in sorted(names, key=len, reverse=True):
        text = text.replace(name, "")
    return re.findall(r"[A-Za-z]{2,}[^\n]*", NAMES.sub("", text))


@pytest.fixture
def names(tiny_run):
    from lotlens.audit.checks import CHECKS

    model_names = [car.name for car in __import__("lotlens").load(tiny_run.path).card.classes]
    return [*model_names, *CHECKS, "run", "tiny", "continued"]


def check(done, names, status=0):
    assert done.returncode == status, done.stderr
    assert re.search("[а-я]", done.stdout + done.stderr)
    for text in (done.stdout, done.stderr):
        assert find_english(text, *names) == []


def test_audit(small_lot, tmp_path, names):
    check(run("audit", small_lot, "--out", tmp_path / "audit"), names)


@pytest.mark.parametrize("more", [(), ("-v",)])
def test_evaluate(run_path, names, more):
    check(run("evaluate", run_path, *more), names)


def test_predict(run_path, small_lot, tmp_path, names):
    out = ("--out", tmp_path / "a.csv", "--format", "table", "--page", tmp_path / "a.html")
    check(run("predict", run_path, small_lot / "test.zip", *out), names)
    out = ("--out", tmp_path / "b.csv", "--format", "submission", "--fill")
    sample = ("--sample", small_lot / "sample-submission.csv")
    check(run("predict", run_path, small_lot / "test.zip", *out, *sample), names)


def test_train_and_its_plan(small_lot, recipe_path, tmp_path, names):
    asked = ("train", small_lot, "--recipe", recipe_path)
    check(run(*asked, "--dry-run"), names)
    done = run(*asked, "--out", tmp_path / "new")
    check(done, names)
    assert '<html lang="ru">' in (tmp_path / "new" / "report.html").read_text("utf-8")


@pytest.mark.parametrize("more", [(), ("-v",)])
def test_doubts_and_improve(run_path, tmp_path, names, more):
    check(run("doubts", run_path, *more), names)
    check(run("improve", run_path, "--hard", "--dry-run"), names)
    if not more:
        done = run("improve", run_path, "--hard", "--out", tmp_path / "better")
        check(done, names)
        # The candidate's report is in the language of the run that it began with, or as asked.
        assert '<html lang="ru">' in (tmp_path / "better" / "report.html").read_text("utf-8")


@pytest.mark.parametrize("more", [(), ("-v",)])
def test_export(run_path, tmp_path, names, more):
    check(run("export", run_path, "--out", tmp_path / "bundle", *more), names)


@pytest.fixture
def spoilt(tmp_path, small_lot, run_path):
    """A folder of what is mistyped and mislaid first, and one is asked for in it."""
    for name in ("folder", "void", "no-photos/a", "no-photos/b", "other-columns"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "folder" / "a.txt").touch()
    for place in ("no-photos/a/1.jpg", "no-photos/b/1.jpg"):
        (tmp_path / place).write_bytes(b"<html>404")
    (tmp_path / "other-columns" / "train.csv").write_text("Id,Foo\na.jpg,1\n")
    (tmp_path / "no-id.csv").write_text("Foo,Bar\na,1\n")
    (tmp_path / "headless.csv").write_text("a.jpg,1\nb.jpg,2\n")
    (tmp_path / "empty.csv").touch()
    (tmp_path / "wide.csv").write_text("Id,Category\na.jpg,1,2\n")
    (tmp_path / "half.zip").write_bytes((small_lot / "train.zip").read_bytes()[:2000])
    (tmp_path / "utf-16.csv").write_bytes("Id,Category\na.jpg,1\n".encode("utf-16"))
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "notes.txt").touch()
    return tmp_path


@pytest.mark.parametrize(
    "asked",
    [
        "audit nothing",
        "evaluate nothing",
        "evaluate folder",
        "review RUN",
        "predict RUN nothing.zip",
        "train folder",
        "train void",
        "train no-photos",
        "train other-columns",
        "train no-id.csv",
        "train headless.csv",
        "train empty.csv",
        "train wide.csv",
        "train utf-16.csv",
        "train half.zip",
        "train LOT --recipe quik",
        "train LOT --resume",
        "train LOT --out no-id.csv",
        "train LOT --out taken",
        "train LOT --recipe quick --set stages.0.foo=1",
        "train LOT --set validation=2",
        "train LOT --set folds=1",
        "train LOT --plot a.svg",
        "predict RUN void",
        "predict RUN headless.csv",
        "predict RUN LOT/test.zip --out a.csv --page a.csv",
        "predict RUN LOT/test.zip --sample LOT/sample-submission.csv --format table --out a.csv",
        "evaluate RUN LOT --labels LOT/train.csv --photos LOT/train.zip",
        "evaluate RUN --photos LOT/train.zip",
        "evaluate RUN --locked",
        "improve RUN",
        "sample folder",
        "split LOT --folds 1 --out s.csv",
    ],
)
def test_errors(spoilt, small_lot, run_path, names, asked, monkeypatch):
    """One line in Russian, in which nothing but names, options and columns is English."""
    monkeypatch.chdir(spoilt)
    words = asked.replace("RUN", str(run_path)).replace("LOT", str(small_lot)).split()
    done = run(*words)
    own = ["folder", "own", "void", "nothing", "taken", "no-photos", "other-columns", "quik"]
    own += ["category", "label", "class", "model", "Category", "Id", "Foo", "Bar", "CSV", "UTF"]
    own += ["id", "file", "filename", "file_name", "image", "photo", "path", "zip", "yaml"]
    own += ["quick", "standard", "best", "reference", "demo", "validation", "folds"]
    own += ["train", "test", "kind", "mirror", "penalties"]
    check(done, [*names, *own], status=2)
    assert done.stderr.splitlines()[-1].startswith("ошибка: ")
    assert done.stderr.count("ошибка: ") == 1


def test_json_is_no_language(run_path):
    english = run("--lang", "en", "evaluate", run_path, "--json").stdout
    assert run("evaluate", run_path, "--json").stdout == english


def test_a_command_is_asked_before_the_environment(run_path, monkeypatch):
    assert "judged on" in run("evaluate", run_path, "--lang", "en").stdout
    assert "judged on" in run("--lang", "en", "evaluate", run_path).stdout
    monkeypatch.delenv("LOTLENS_LANG")
    assert "judged on" in run("evaluate", run_path).stdout
    assert "Проверка" in run("evaluate", run_path, "--lang", "ru").stdout
    done = run("evaluate", run_path, "--lang", "de")
    assert done.returncode == 2
    assert "'de': use one of en, ru" in done.stderr


def test_the_help_tells_of_it(monkeypatch):
    for asked in (("help",), ("--help",), *((name, "--help") for name in ("audit", "review"))):
        assert "--lang" in run(*asked).stdout
    assert "LOTLENS_LANG" in run("help").stdout
    assert len(COMMANDS) > 10


def test_names_are_not_taken_for_words(monkeypatch):
    monkeypatch.setattr(VOICE, "lang", "ru")
    assert translate("run           probe") == "папка         probe"
    assert translate("probe run     x") == "probe run     x"
    assert translate("judging mixed weights: done in 2 s").startswith("проверка смеси весов: ")
    assert translate("error: no run folder at x").startswith("ошибка: нет папки")
    assert translate("error: something else") == "ошибка: something else"
    assert translate_word("stage 2") == "этап 2"
    assert translate_word("Lada Niva") == "Lada Niva"
    assert spell("0.88") == "0,88"
    monkeypatch.setattr(VOICE, "lang", None)
    assert translate("run           probe") == "run           probe"
    assert spell("0.88") == "0.88"


def test_a_plans_times_are_translated_once(small_lot):
    """Once more, "0,4 мин …: лучше ли" would look like another sentence, with a number in it."""
    done = run("train", small_lot, "--recipe", "quick", "--dry-run")
    assert re.search(r"^сначала +\d+,\d мин  проверка фото и проба: лучше ли", done.stdout, re.M)
    assert re.search(r"^этап 0 +быстрое +\d+,\d мин$", done.stdout, re.M)
    assert re.search(r"^затем +\d+,\d мин  с какой", done.stdout, re.M)


@pytest.mark.parametrize("code", ["ru"])
def test_no_sentence_is_taken_for_another_by_its_form_alone(code):
    language = load_language(code)
    assert language.reword("4 мин  проба: лучше ли сначала найти машину") is None
    meaning = "nearly black"
    assert language.reword(f"3 dark: {meaning}") == f"{language.translate(meaning)} (dark): 3"


def test_labels_fit_their_column():
    from lotlens.report.language import load_language

    wholes = load_language("ru").wholes
    labels = {own for english, own in wholes.items() if re.fullmatch(r"[\w -]+:", english)}
    too_long = {own for own in labels if len(own) > screen.LABEL_WIDTH}
    assert too_long == {"названа модель:", "незнакомая машина:", "точность поровну:"}
    assert not set(string.ascii_letters) & set("".join(labels - {"F1:", "log loss:"}))


def test_what_rewrites_a_report_keeps_its_language(run_path, monkeypatch):
    assert run("evaluate", run_path).returncode == 0
    monkeypatch.delenv("LOTLENS_LANG")
    assert "Not adopted" in run("views", run_path, "--try", "mirror").stdout
    report = (run_path / "report.html").read_text("utf-8")
    assert '<html lang="ru">' in report
    assert 'lang="en"' not in report
    assert run("views", run_path, "--try", "mirror", "--lang", "en").returncode == 0
    assert '<html lang="en">' in (run_path / "report.html").read_text("utf-8")
