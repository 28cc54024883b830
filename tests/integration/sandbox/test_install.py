"""What is missing is installed where that is allowed, and otherwise asked for in one sentence."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from worker.sandbox import ServiceUnavailable, start_rabbitmq
from worker.sandbox.containers import engine_answers

# Stands where apt-get stands: what it is asked for appears in the place that is looked at.
_APT_GET = """#!/bin/sh
echo "$@" >> "$0.log"
if [ "$1" = update ]; then touch "$0.updated"; exit 0; fi
if [ "$WITHOUT_LISTS" = 1 ] && [ ! -e "$0.updated" ]; then exit 100; fi
mkdir -p "$MEERKAT_RABBITMQ_HOME/sbin"
printf '#!/bin/sh\\n' > "$MEERKAT_RABBITMQ_HOME/sbin/rabbitmq-server"
chmod 755 "$MEERKAT_RABBITMQ_HOME/sbin/rabbitmq-server"
"""
_SUDO = """#!/bin/sh
shift
exec "$@"
"""


def _program(directory: Path, name: str, text: str) -> None:
    path = directory / name
    path.write_text(text)
    path.chmod(0o755)


def _link(directory: Path, *names: str) -> None:
    for name in names:
        found = shutil.which(name)
        assert found is not None
        (directory / name).symlink_to(found)


@pytest.fixture
def bare(tmp_path: Path) -> dict[str, str]:
    """The environment of a machine without RabbitMQ, Docker, apt-get or an address."""
    programs = tmp_path / "bin"
    programs.mkdir()
    _link(programs, "env", "sh", "mkdir", "chmod", "touch", "rm")
    return {
        "PATH": str(programs),
        "HOME": str(tmp_path),
        "MEERKAT_RABBITMQ_HOME": str(tmp_path / "rabbitmq"),
        "DOCKER_HOST": "unix:///nonexistent.sock",
        "PYTHONPATH": str(Path.cwd()),
    }


def _ensure(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "worker.sandbox", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_service_that_cannot_be_had_is_a_sentence_and_exit_code_2(bare: dict[str, str]) -> None:
    """Without any source, the command says how to get one, in one line, and ends with 2."""
    ended = _ensure(bare, "ensure", "rabbitmq")
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert "RabbitMQ cannot be had: it is not installed" in ended.stderr
    assert "apt-get install rabbitmq-server" in ended.stderr
    assert "MEERKAT_AMQP_URL" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_a_browser_that_cannot_be_had_is_a_sentence_too(bare: dict[str, str]) -> None:
    """No address and no container stands for it: it is there, or it is installed."""
    ended = _ensure(bare, "ensure", "chromium")
    assert ended.returncode == 2
    assert "Chromium cannot be had: it is not installed" in ended.stderr
    assert "apt-get install chromium" in ended.stderr


@pytest.mark.parametrize("without_lists", ["0", "1"])
def test_a_missing_broker_is_installed_and_said_aloud_first(
    bare: dict[str, str], without_lists: str
) -> None:
    """apt-get is run, after fetching its lists if it has none, and announced on stderr."""
    programs = Path(bare["PATH"])
    _program(programs, "apt-get", _APT_GET)
    _program(programs, "sudo", _SUDO)
    ended = _ensure(bare | {"WITHOUT_LISTS": without_lists}, "ensure", "rabbitmq")
    assert ended.returncode == 0, ended.stderr
    said = "RabbitMQ is not installed here; running: apt-get install -y rabbitmq-server"
    assert said in ended.stderr
    assert ended.stdout == ""
    calls = (programs / "apt-get.log").read_text().splitlines()
    assert "install -qy --no-install-recommends rabbitmq-server" in calls[0]
    assert len(calls) == 1 + 2 * int(without_lists)


def test_an_address_in_the_environment_installs_nothing(bare: dict[str, str]) -> None:
    """A given broker is enough, even if it is not asked whether it answers."""
    ended = _ensure(bare | {"MEERKAT_AMQP_URL": "amqp://127.0.0.1:1/"}, "ensure", "rabbitmq")
    assert ended.returncode == 0
    assert "at the address in MEERKAT_AMQP_URL" in ended.stderr


@pytest.mark.parametrize(
    "arguments", [(), ("ensure",), ("ensure", "emacs"), ("remove", "rabbitmq")]
)
def test_a_wrong_command_line_gets_the_usage(
    bare: dict[str, str], arguments: tuple[str, ...]
) -> None:
    """The usage line names what can be ensured."""
    ended = _ensure(bare, *arguments)
    assert ended.returncode == 2
    assert "usage: python -m worker.sandbox ensure [rabbitmq]" in ended.stderr


def test_a_broker_that_does_not_start_is_explained_by_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error carries the exit code and the end of the broker's own log."""
    (tmp_path / "sbin").mkdir()
    _program(tmp_path / "sbin", "rabbitmq-server", "#!/bin/sh\necho no disk left\nexit 3\n")
    monkeypatch.setenv("MEERKAT_RABBITMQ_HOME", str(tmp_path))
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent.sock")
    engine_answers.cache_clear()
    tmp_path.chmod(0o755)
    with (
        pytest.raises(ServiceUnavailable, match=r"(?s)code 3.*no disk left"),
        start_rabbitmq(private=True),
    ):
        pass
    engine_answers.cache_clear()


def test_an_address_at_which_nothing_answers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A given broker that is not there is an error, not a reason to start another one."""
    monkeypatch.setattr("worker.sandbox.rabbitmq._GIVEN_SECONDS", 0.2)
    monkeypatch.setenv("MEERKAT_AMQP_URL", "amqp://127.0.0.1:1/")
    with (
        pytest.raises(
            ServiceUnavailable,
            match=r"RabbitMQ at 127\.0\.0\.1:1 \(MEERKAT_AMQP_URL\) does not answer",
        ),
        start_rabbitmq(),
    ):
        pass
