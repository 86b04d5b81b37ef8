"""The first ten minutes as the documents tell them, command by command, on a clean clone.

README.md, the first page of the guide and README.ru.md are walked from `git clone` to a submission:
every command of their `sh` blocks up to WALKED's heading is run as it is written, and what a `text`
block shows of its output is looked for in what it printed. What is done otherwise, and why:

- `URL` of `git clone` is this checkout: there is no other address.
- `.venv` has the packages of the environment that runs the tests, not those that pip would fetch,
  and the stamp of make that says so: an install takes minutes, and torch would be fetched.
- `make demo` is asked what it would run: tests/verbs/test_demo.py goes its way on fewer photos.
- `lotlens sample` draws 160 and 60 photos, not 600 and 200: two minutes less of CPU time.
- A command that an earlier document has already run is not run again.

`LOTLENS_WALK=full` does these as they are written, in a clone for each document. In both,
`lotlens review` takes any free port, and is ended as by Ctrl-C once its page was read.
"""

import csv
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import urllib.request
from pathlib import Path

import pytest

from lotlens.drawn.designs import DESIGNS

ROOT = Path(__file__).parent.parent
IS_FULL = os.environ.get("LOTLENS_WALK") == "full"
WALKED = {
    "README.md": "## Install elsewhere",
    "docs/README.md": "## Pages",
    "README.ru.md": "## Если ставите иначе",
}
"""Document -> the heading before which its commands are walked."""
SMALLER = " --train 160 --test 60"
RUN = Path("runs/cars-quick-1")
NAMES = sorted((design.name for design in DESIGNS), key=len, reverse=True)

pytestmark = pytest.mark.slow


def find_blocks(text):
    """Each `sh` block's commands, with the lines of the `text` block right after it."""
    blocks = re.findall(r"```sh\n(.*?)```(?:\s*```text\n(.*?)```)?", text, re.DOTALL)
    return [
        (
            [line.partition("  #")[0].strip() for line in commands.splitlines()],
            [line for line in shown.splitlines() if line.strip() not in {"", "…"}],
        )
        for commands, shown in blocks
    ]


def blur(line):
    """A line without what differs between lots and machines: numbers, classes, reasons."""
    line = re.sub("|".join(map(re.escape, NAMES)), "CAR", line)
    line = re.sub(r"\d+(?:[.,]\d+)*", "0", " ".join(line.split()))
    # Whether seconds or minutes is a matter of the machine.
    line = re.sub(r"about 0 (s|min|h) here", "about 0 min here", line)
    return re.sub("^(verdicts|no answer for 0.jpg):.*", r"\1", line)


def check_shown(shown, printed):
    """Every line shown was printed, in this order; one that ends in … begins so."""
    rest = iter([blur(line) for line in printed.splitlines()])
    for line in shown:
        start, is_cut, _ = blur(line).partition(" …")
        found = any(one.startswith(start) if is_cut else one == start for one in rest)
        assert found, f"not printed, or not here: {line!r}\n\n{printed}"


class Walk:
    """A person at a shell: a folder, an environment, and what was printed so far."""

    def __init__(self, home):
        self.folder = home
        self.printed = {}
        # What a test run, a hook of git or an outer make would tell the commands.
        own = ("PYTHON", "COV_", "GIT_", "LOTLENS_", "MAKE", "MFLAGS", "VIRTUAL_ENV")
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith(own)}

    def follow(self, document):
        """Run a document's commands, and compare what it shows with what they print."""
        text = (ROOT / document).read_text("utf-8")
        walked, heading, _ = text.partition(WALKED[document])
        assert heading
        blocks = find_blocks(walked)
        for commands, shown in blocks:
            check_shown(shown, "".join(self.do(command) for command in commands))
        return [command for commands, _ in blocks for command in commands]

    def do(self, command):
        """What a command prints, now or when it was run before."""
        if command not in self.printed:
            if command.startswith("lotlens review"):
                printed = self.review(command)
            else:
                printed = self.run(self.change(command))
            self.printed[command] = printed
            if command.startswith("cd ") and not IS_FULL:
                install_without_pip(self.folder)
        return self.printed[command]

    def change(self, command):
        """What stands for a command here; see above."""
        command = re.sub(r"^git clone URL\b", f"git clone --quiet '{ROOT}'", command)
        if not IS_FULL:
            command = re.sub("^make demo$", "make --dry-run demo", command)
            command += SMALLER if command.startswith("lotlens sample") else ""
        return command

    def run(self, command):
        # Where the shell is and what it knows after the command, for the next one.
        state = self.folder / ".walk"
        script = f"{command}\n{{ pwd; env -0; }} >'{state}'"
        done = subprocess.run(
            ["bash", "-e", "-c", script],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        folder, _, names = state.read_text("utf-8").partition("\n")
        state.unlink()
        self.folder = Path(folder)
        self.environment = dict(one.split("=", 1) for one in names.split("\0") if one)
        return done.stdout

    def review(self, command):
        """Serve the page of doubts, open it, and end it as Ctrl-C does."""
        with subprocess.Popen(
            ["bash", "-c", f"exec {command} --port 0 --no-browser"],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            text=True,
        ) as served:
            try:
                printed = ""
                for line in served.stdout:
                    printed += line
                    if "Ctrl-C" in line:
                        break
                address = re.search("http://.*", printed)
                assert address, printed
                with urllib.request.urlopen(address[0], timeout=60) as page:
                    assert "<html" in page.read().decode()
                served.send_signal(signal.SIGINT)
                printed += served.stdout.read()
            finally:
                served.kill()
        return printed


def install_without_pip(clone):
    """What make would install for `make demo`: .venv, here with the packages of this Python."""
    venv = clone / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    (packages,) = venv.glob("lib/python*/site-packages")
    own = sysconfig.get_paths()["purelib"]
    # The clone comes first; a .pth file of an editable lotlens in the second is not read.
    (packages / "walk.pth").write_text(f"{clone}\n{own}\n", "utf-8")
    command = venv / "bin" / "lotlens"
    # As pip writes it: worker processes import it under another name.
    command.write_text(
        f"#!{venv}/bin/python\nimport sys\n\nfrom lotlens.cli.app import main\n\n"
        'if __name__ == "__main__":\n    sys.exit(main())\n',
        "utf-8",
    )
    command.chmod(0o755)
    (venv / ".train").touch()


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """A function that gives the walk a document begins with."""
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("the documents are walked on a clone: CI must have git and its history")
        pytest.skip("no git here, or no clone")
    shared = Walk(tmp_path_factory.mktemp("walk"))
    return lambda: Walk(tmp_path_factory.mktemp("walk")) if IS_FULL else shared


def read_rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def check_submission(folder):
    """The file to hand in: the sample's ids in its order, each with a class of the lot."""
    submission = read_rows(folder / "submission.csv")
    sample = read_rows(folder / "cars" / "sample-submission.csv")
    assert len(submission) >= 60
    assert [row["Id"] for row in submission] == [row["Id"] for row in sample]
    classes = {row["Category"] for row in read_rows(folder / "cars" / "classes.csv")}
    said = {row["Category"] for row in submission}
    assert said <= classes
    # Not the file that guesses: better than twice as often right as one of ten classes is.
    answers = {row["Id"]: row["Category"] for row in read_rows(folder / "cars" / "answers.csv")}
    right = sum(answers[row["Id"]] == row["Category"] for row in submission)
    assert right > 0.2 * len(submission)


def check_way(commands):
    """A document begins with the clone and gets to an answer, and tells how to reach lotlens."""
    commands = commands[commands[0] == "export LOTLENS_LANG=ru" :]
    first = ["git clone URL lotlens", "cd lotlens", "make demo", ". .venv/bin/activate"]
    assert commands[:4] == first
    assert any(command.startswith("lotlens predict") for command in commands)


def test_the_readme_leads_from_the_clone_to_a_submission(start):
    walk = start()
    commands = walk.follow("README.md")
    check_way(commands)
    if IS_FULL:
        assert (walk.folder / "demo" / "submission.csv").is_file()
    else:
        assert walk.printed["make demo"].strip() == ".venv/bin/lotlens demo"
    check_submission(walk.folder)
    assert (walk.folder / RUN / "report.html").is_file()
    assert (walk.folder / "audit" / "findings.html").is_file()
    assert "<img" in (walk.folder / "answers.html").read_text("utf-8")


def test_the_first_page_of_the_guide(start):
    walk = start()
    if IS_FULL:  # it goes on where the README ends
        walk.follow("README.md")
    assert walk.follow("docs/README.md")


def test_the_russian_readme_leads_from_the_clone_to_a_submission(start):
    walk = start()
    commands = walk.follow("README.ru.md")
    check_way(commands)
    check_submission(walk.folder)
    for page in (walk.folder / "answers.ru.html", walk.folder / RUN / "report.html"):
        assert 'lang="ru"' in page.read_text("utf-8")


def test_a_shown_line_that_is_not_printed_is_found():
    check_shown(["accuracy  70.1 %", "report …"], "accuracy   9 %\nmore\nreport a/b\n")
    for shown in (["report"], ["report a/b", "accuracy 1 %"], ["better 1 %"], ["acuracy …"]):
        with pytest.raises(AssertionError):
            check_shown(shown, "accuracy   9 %\nmore\nreport a/b\n")
