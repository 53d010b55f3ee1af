"""`make_bitstream`: writes a board's project, runs its tools, and says what came out."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vta import cache, processes
from vta.config import Config
from vta.driver.board.bitstreams import CACHE_KIND, CACHED_FILE, bitstream_key
from vta.driver.board.fpga_manager import to_bin
from vta.driver.board.kinds import KINDS
from vta.errors import ConfigError, ToolError
from vta.extras import needed
from vta.registers import config_words
from vta.tools.bitstream.designs import BoardDesign
from vta.tools.bitstream.toolchains import BITSTREAM_TOOLS, NAME, BitstreamTools

__all__ = ["Made", "Request", "make_bitstream", "write_project"]

logger = logging.getLogger(__name__)

FORMAT, VERSION = "vta-bitstream", 1
MANIFEST = Path(CACHED_FILE).with_suffix(".json").name
_LOG = "output.txt"


@dataclass(frozen=True)
class Request:
    """What to make.

    Attributes
    ----------
    design : BoardDesign
    config : Config
        The user's; the board's own follows from it.
    toolchain : str
        "" for the board's default.
    clock_hz : int
        0 for the board's default.
    ps_pads : bool
        Adds the processor system's pads as ports.
    """

    design: BoardDesign
    config: Config
    toolchain: str = ""
    clock_hz: int = 0
    ps_pads: bool = False

    @property
    def board_config(self) -> Config:
        return self.design.config(self.config.replace(target=self.design.board))

    @property
    def tools(self) -> BitstreamTools:
        name = self.toolchain or self.design.toolchains[0]
        if name not in self.design.toolchains:
            raise ConfigError(
                f"the toolchain of {self.design.board} must be one of "
                f"{', '.join(self.design.toolchains)}, not {name!r}"
            )
        return BITSTREAM_TOOLS[name]

    @property
    def hz(self) -> int:
        return self.clock_hz or self.design.clock_hz


@dataclass(frozen=True)
class Made:
    """A bitstream: its files, the clock in Hz that the tools reached, whether it is fast enough."""

    files: tuple[Path, ...]
    reached_hz: int
    in_time: bool
    cached: bool


def write_project(request: Request, folder: Path) -> dict[str, str]:
    """Writes the project: RTL, constraints, script; returns the SHA-256 of each file.

    Raises
    ------
    ConfigError
        If the configuration does not fit the board.
    ToolError
        If Amaranth is missing.
    """
    config, tools = request.board_config, request.tools
    with needed("a board's project", "hw"):
        import amaranth_boards  # noqa: F401

        from vta.hw.verilog import quick_conversion

        platform = request.design.platform(tools.platform_name)
        design = request.design.elaborate(config, request.hz, request.ps_pads)
        with quick_conversion(assertions=False):
            plan = platform.build(
                design, NAME, do_build=False, emit_src=False, **request.design.overrides
            )
    folder.mkdir(parents=True, exist_ok=True)
    sums = {}
    for name, content in plan.files.items():
        raw = content.encode() if isinstance(content, str) else content
        (folder / name).write_bytes(raw)
        sums[name] = hashlib.sha256(raw).hexdigest()
    (folder / "config.json").write_text(json.dumps(config.to_dict(), indent=1) + "\n")
    return sums


def make_bitstream(
    request: Request, folder: Path, say: Callable[[str], None], *, force: bool = False
) -> Made:
    """Writes the project into `folder`, and beside it the bitstream and its manifest.

    The bitstream of the same sources and tools is taken from the cache.

    Parameters
    ----------
    request : Request
    folder : Path
    say : callable
        Is told what the tools do.
    force : bool
        Hands out a bitstream that misses its clock, too; its manifest has the clock that was
        reached.

    Raises
    ------
    ToolError
        If the tools are not here (the project is written all the same), fail, or miss the clock.
    """
    sums = write_project(request, folder)
    tools = request.tools
    manifest = _manifest(request, sums)
    key = bitstream_key(request.design.board, request.board_config)
    if made := _from_cache(key, manifest, folder, force):
        return made
    if missing := tools.missing():
        raise ToolError(
            f"the project is in {folder}, and there is no bitstream: {', '.join(missing)} must be "
            f"installed ({tools.install}); then run this again"
        )
    _run(folder, tools, say)
    period = 1e9 / request.hz
    slack = tools.slack(folder, period)
    reached_hz = int(1e9 / (period - slack))
    in_time = slack >= 0
    manifest |= {"clock_hz": min(request.hz, reached_hz), "reached_hz": reached_hz}
    if not in_time and not force:
        (folder / tools.bitstream).unlink()
        raise ToolError(
            f"the bitstream must run at {request.hz / 1e6:g} MHz and reaches "
            f"{reached_hz / 1e6:.1f} MHz: ask for a slower clock (--clock-mhz), or for this one "
            "with --force"
        )

    def fill(entry: Path) -> None:
        for path in _outputs(folder, request, manifest):
            shutil.copy2(path, entry / path.name)

    about = f"{request.design.board}, {request.board_config.bitstream}"
    entry = cache.store(CACHE_KIND, key, fill, about)
    return Made(_copy(entry, folder), reached_hz, in_time, False)


def _manifest(request: Request, sums: dict[str, str]) -> dict[str, object]:
    config, tools = request.board_config, request.tools
    return {
        "format": FORMAT,
        "version": VERSION,
        "board": request.design.board,
        "part": request.design.part,
        "config": config.to_dict(),
        "config_words": [f"{word:#010x}" for word in config_words(config)],
        "asked_hz": request.hz,
        "toolchain": tools.name,
        "tools": tools.versions(),
        "sources": sums,
    }


def _from_cache(key: str, manifest: dict[str, object], folder: Path, force: bool) -> Made | None:
    """The bitstream of the same sources, if it is in the cache and fast enough."""
    entry = cache.lookup(CACHE_KIND, key)
    if entry is None or not (entry / MANIFEST).is_file():
        return None
    old = json.loads((entry / MANIFEST).read_text(encoding="utf-8"))
    if any(old.get(name) != value for name, value in manifest.items()):
        return None
    reached_hz, asked_hz = old["reached_hz"], old["asked_hz"]
    if reached_hz < asked_hz and not force:
        return None
    return Made(_copy(entry, folder), reached_hz, reached_hz >= asked_hz, True)


def _copy(entry: Path, folder: Path) -> tuple[Path, ...]:
    names = sorted(path.name for path in entry.iterdir() if not path.name.startswith("."))
    return tuple(Path(shutil.copy2(entry / name, folder / name)) for name in names)


def _outputs(folder: Path, request: Request, manifest: dict[str, object]) -> list[Path]:
    """The bitstream under its own name, as the FPGA manager wants it, and the manifest."""
    data = (folder / request.tools.bitstream).read_bytes()
    files = [folder / CACHED_FILE]
    files[0].write_bytes(data)
    kind = KINDS.get(request.design.board)
    if kind is not None and kind.swapped:
        files.append(folder / f"{CACHED_FILE}.bin")
        files[1].write_bytes(to_bin(data))
    manifest = manifest | {
        "bitstream": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    }
    files.append(folder / MANIFEST)
    files[-1].write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    return files


def _run(folder: Path, tools: BitstreamTools, say: Callable[[str], None]) -> None:
    """Runs the project's script, and says the last line of what its tools say, now and then."""
    with (
        processes.unwound_by_sigterm(),
        open(folder / _LOG, "wb") as log,
        subprocess.Popen(
            ["sh", f"build_{NAME}.sh"],
            cwd=folder,
            env=tools.environment(),
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
            process_group=0,
        ) as process,
    ):
        try:
            start = time.monotonic()
            while process.poll() is None:
                time.sleep(0.2)
                say(f"{(time.monotonic() - start) / 60:.1f} min, {_last_line(folder)}")
        except BaseException:
            processes.end_group(process)
            raise
    if process.returncode != 0:
        said = (folder / _LOG).read_text(encoding="utf-8", errors="replace").splitlines()
        errors = [line for line in said if "ERROR" in line.upper()] or said[-1:] or ["no output"]
        raise ToolError(f"{tools.name} failed: {errors[0]} ({folder / _LOG} has all of it)")


def _last_line(folder: Path) -> str:
    """The last line of the newest log in a folder."""
    logs = [folder / _LOG, *folder.glob("*.rpt"), *folder.glob("*.tim"), *folder.glob("*.log")]
    newest = max((path for path in logs if path.exists()), key=lambda path: path.stat().st_mtime)
    with open(newest, "rb") as file:
        file.seek(max(0, newest.stat().st_size - 400))
        lines = file.read().decode("utf-8", "replace").split("\n")
    return next((line.strip()[:70] for line in reversed(lines[:-1]) if line.strip()), "started")
