"""What stands in deploy/: it parses, and says what the guide says of it."""

import re
import shlex
import shutil
import subprocess
import sysconfig
from pathlib import Path

from typer.testing import CliRunner

from lotlens.cli.app import build_app
from lotlens.verbs.serve import _GRACE_S
from lotlens.web.job_files import JobBounds

DEPLOY = Path(__file__).parents[2] / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text("utf-8")
UNIT = (DEPLOY / "lotlens.service").read_text("utf-8")


def read_unit():
    """Section -> its (key, value) pairs."""
    sections = {}
    for line in UNIT.splitlines():
        if line.startswith("["):
            pairs = sections.setdefault(line.strip("[]"), [])
        elif line and not line.startswith("#"):
            key, is_pair, value = line.partition("=")
            assert is_pair, line
            pairs.append((key, value))
    return sections


def list_options(command):
    return [part for part in command if part.startswith("--")]


def check_options(options):
    """`lotlens serve` has them."""
    told = CliRunner().invoke(build_app(), ["serve", "--help"], env={"COLUMNS": "200"}).output
    assert options
    for option in options:
        assert re.search(rf"{option}\b", told), option


def read_instructions():
    joined = DOCKERFILE.replace("\\\n", " ")
    lines = [line for line in joined.splitlines() if line and not line.startswith("#")]
    return [tuple(line.split(maxsplit=1)) for line in lines]


def test_the_image_is_slim_without_torch_and_not_run_as_root():
    found = read_instructions()
    stages = [value for name, value in found if name == "FROM"]
    assert all(re.match(r"python:3\.\d+-slim-\w+( AS \w+)?$", stage) for stage in stages)
    installs = [value for name, value in found if name == "RUN" and "pip install" in value]
    assert [re.search(r"'\.\[(.*)\]'", value)[1] for value in installs] == ["web,postgres"]
    assert all("--constraint constraints.txt" in value for value in installs)
    final = found[max(n for n, (name, _) in enumerate(found) if name == "FROM") :]
    (user,) = [value for name, value in final if name == "USER"]
    assert int(user) > 0
    assert not {name for name, _ in found} & {"ADD"}
    for name, value in found:
        if name == "COPY" and "--from" not in value:
            for source in value.split()[:-1]:
                assert (DEPLOY.parent / source).exists(), source
    (entry,) = [value for name, value in final if name == "ENTRYPOINT"]
    check_options(re.findall(r'"(--[\w-]+)"', entry))


def test_the_dockerfile_is_linted():
    linter = Path(sysconfig.get_path("scripts")) / "hadolint"
    done = subprocess.run(
        [linter, DEPLOY / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_the_unit_has_a_user_of_its_own_and_waits_for_what_was_accepted():
    unit = read_unit()
    assert unit.keys() == {"Unit", "Service", "Install"}
    service = dict(unit["Service"])
    assert service["User"] != "root"
    assert int(service["TimeoutStopSec"]) > _GRACE_S
    assert service["NoNewPrivileges"] == "true"
    assert service["ProtectSystem"] == "strict"
    assert "-HUP" in service["ExecReload"]
    command = shlex.split(service["ExecStart"])
    assert command[1] == "serve"
    check_options(list_options(command))
    if shutil.which("systemd-analyze"):
        done = subprocess.run(
            ["systemd-analyze", "verify", DEPLOY / "lotlens.service"],
            capture_output=True,
            text=True,
            check=False,
        )
        said = [line for line in done.stderr.splitlines() if "lotlens.service" in line]
        assert [line for line in said if "is not executable" not in line] == []


def test_proxies_take_what_the_desk_takes_and_pass_its_name_on():
    nginx = (DEPLOY / "nginx.conf").read_text("utf-8")
    caddy = (DEPLOY / "Caddyfile").read_text("utf-8")
    most = f"{JobBounds().form.most_body_bytes // 1_000_000}"
    assert f"client_max_body_size {most}m;" in nginx
    assert f"max_size {most}MB" in caddy
    assert "proxy_set_header Host $host;" in nginx
    assert "proxy_request_buffering off;" in nginx
    for text in (nginx, caddy):
        assert text.count("{") == text.count("}")
