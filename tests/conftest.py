"""What all tests share: ``--full``, hypothesis's profile, the shared folder, configurations."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.vta.commands import Result, Run
from vta.config import PRESETS, Config

# How fast a busy machine is says nothing about the code.
settings.register_profile(
    "vta", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("vta")

# A shell's background jobs ignore SIGINT, and so would the commands that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


# The RTL runs with its assertions, in the processes that tests start too.
os.environ["VTA_ASSERTIONS"] = "1"


@pytest.fixture(autouse=True)
def log_levels() -> Iterator[None]:
    """Commands that run in this process set the level of logging, which other tests look at."""
    loggers = [logging.getLogger(), *map(logging.getLogger, ("vta", "vta.driver.remote.server"))]
    levels = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="run the tests marked `full` too")
    parser.addoption(
        "--update-golden",
        action="store_true",
        help="write what is printed and generated now into the golden files",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--full"):
        return
    left_out = [item for item in items if "full" in item.keywords]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if "full" not in item.keywords]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says how many random programs ran; the tests tell by `record_property`."""
    properties = [
        dict(report.user_properties)
        for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed")
        if report.when == "call"
    ]
    properties = [found for found in properties if "programs" in found]
    if properties:
        programs = sum(found["programs"] for found in properties)
        faulty = sum(found["errors"] for found in properties)
        configurations = {found["configuration"] for found in properties}
        terminalreporter.write_line(
            f"generator: {programs} programs on {len(configurations)} configurations, {faulty} of "
            "them with an error, on the RTL, the functional simulator and numpy"
        )
    schedules = [
        dict(report.user_properties)
        for report in terminalreporter.stats.get("passed", ())
        if "schedules" in dict(report.user_properties)
    ]
    if schedules:
        legal = sum(found["schedules"] for found in schedules)
        illegal = sum(found["illegal"] for found in schedules)
        terminalreporter.write_line(
            f"schedules: {legal} random ones computed what numpy does, {illegal} more were refused "
            "with a ScheduleError"
        )


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of specifications and reference images beside the checkout."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip(f"{folder}, where the reference images lie, is not there")
    return folder


@pytest.fixture(params=sorted(PRESETS))
def configs(request: pytest.FixtureRequest) -> Config:
    """Each of the named configurations."""
    return PRESETS[request.param]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Runs a command of `vta` in this process."""
    from vta.cli import app

    def call(*args: object) -> Result:
        status = app.run([str(arg) for arg in args])
        captured = capsys.readouterr()
        return Result(status, captured.out, captured.err)

    loggers = logging.getLogger(), logging.getLogger("vta")
    before = [(logger, logger.level, logger.handlers[:]) for logger in loggers]
    yield call
    # A command's log handler writes to the stderr of its test, which pytest closes afterwards. A
    # thread that logs later would fail.
    for logger, level, handlers in before:
        logger.setLevel(level)
        for handler in logger.handlers[:]:
            if type(handler) is logging.StreamHandler and handler not in handlers:
                logger.removeHandler(handler)
