"""TLS: who is let in, and what both sides say to who is not. The certificates are made here."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.driver.remote.conftest import Serve, check_board
from tests.driver.remote.test_server import wait_for
from vta import rpc
from vta.config import Config
from vta.driver.remote.server import Server
from vta.errors import ConfigError, RemoteError

TOKEN = "a word that nobody guesses"

pytestmark = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="certificates are made with the openssl command"
)


def make_certificate(folder: Path, name: str, *, days: int = 2) -> Path:
    """A key and a certificate that vouches for itself, in one file."""
    file = folder / f"{name}.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
        + ["-nodes", "-subj", f"/CN={name}", "-days", str(days)]
        + ["-keyout", file.with_suffix(".key"), "-out", file.with_suffix(".crt")],
        check=True,
        capture_output=True,
    )
    file.write_bytes(file.with_suffix(".key").read_bytes() + file.with_suffix(".crt").read_bytes())
    return file


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    for name in ("daemon", "client", "stranger"):
        make_certificate(folder, name)
    return folder


@pytest.fixture
def secure(serve: Serve, folder: Path) -> Callable[..., Server]:
    def start(client_ca: str = "", token: str | None = TOKEN) -> Server:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(folder / "daemon.pem")
        if client_ca:
            context.load_verify_locations(folder / client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return serve(tls=context, token=token)

    return start


def refused(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The daemon's lines about clients that it did not let in."""
    texts = (entry.getMessage() for entry in caplog.records)
    return [text for text in texts if ": refused: " in text or ": cut off: " in text]


def test_token_and_certificates(
    secure: Callable[..., Server], folder: Path, tiny: Config, caplog: pytest.LogCaptureFixture
) -> None:
    check_board(secure().port, tiny, token=TOKEN, ca=folder / "daemon.crt")
    server = secure("client.crt", None)
    check_board(server.port, tiny, ca=folder / "daemon.crt", cert=folder / "client.pem")
    check_board(
        server.port,
        tiny,
        ca=folder / "daemon.crt",
        cert=folder / "client.crt",
        key_file=folder / "client.key",
    )
    assert refused(caplog) == []


@pytest.mark.parametrize(
    ("token", "said"), [("wrong", "the token is wrong"), (None, "a token is needed")]
)
def test_wrong_token(
    secure: Callable[..., Server],
    folder: Path,
    tiny: Config,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    token: str | None,
    said: str,
) -> None:
    monkeypatch.delenv("VTA_RPC_TOKEN_FILE", raising=False)
    server = secure()
    with pytest.raises(RemoteError, match=rf"^127.0.0.1:{server.port}: {said}$"):
        rpc.connect("127.0.0.1", server.port, token=token, ca=folder / "daemon.crt", config=tiny)
    wait_for(lambda: refused(caplog))
    (line,) = refused(caplog)
    assert line.endswith(f": refused: {said}")
    check_board(server.port, tiny, token=TOKEN, ca=folder / "daemon.crt")


def test_a_stranger_has_no_place(
    secure: Callable[..., Server], folder: Path, tiny: Config, caplog: pytest.LogCaptureFixture
) -> None:
    server = secure("client.crt", None)
    for number, cert in enumerate((folder / "stranger.pem", None), 1):
        with pytest.raises(RemoteError, match=rf"127.0.0.1:{server.port}"):
            rpc.connect("127.0.0.1", server.port, ca=folder / "daemon.crt", cert=cert, config=tiny)
        wait_for(lambda number=number: len(refused(caplog)) == number)
    first, second = refused(caplog)
    assert "the client's certificate is not accepted" in first
    assert second.endswith("refused: the client has no certificate")


def test_an_expired_certificate(
    serve: Serve, folder: Path, tmp_path: Path, tiny: Config, caplog: pytest.LogCaptureFixture
) -> None:
    expired = tmp_path / "expired.crt"
    done = subprocess.run(
        ["openssl", "x509", "-in", folder / "daemon.crt", "-signkey", folder / "daemon.key"]
        + ["-days", "-1", "-out", expired],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        # Newer versions take dates instead.
        subprocess.run(
            ["openssl", "x509", "-in", folder / "daemon.crt", "-signkey", folder / "daemon.key"]
            + ["-not_before", "20200101000000Z", "-not_after", "20200201000000Z", "-out", expired],
            check=True,
            capture_output=True,
        )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(expired, folder / "daemon.key")
    server = serve(tls=context, token=TOKEN)
    with pytest.raises(RemoteError, match="certificate is not accepted .*expired"):
        rpc.connect("127.0.0.1", server.port, token=TOKEN, ca=expired, config=tiny)
    wait_for(lambda: refused(caplog))


def test_a_foreign_daemon(
    secure: Callable[..., Server], folder: Path, tiny: Config, caplog: pytest.LogCaptureFixture
) -> None:
    server = secure()
    with pytest.raises(RemoteError, match="TLS failed: its certificate is not accepted"):
        rpc.connect("127.0.0.1", server.port, token=TOKEN, ca=folder / "stranger.crt", config=tiny)
    wait_for(lambda: refused(caplog))
    assert len(refused(caplog)) == 1


def test_a_plain_client_on_a_tls_port(
    secure: Callable[..., Server], folder: Path, tiny: Config, caplog: pytest.LogCaptureFixture
) -> None:
    server = secure()
    with pytest.raises(RemoteError, match=rf"^127.0.0.1:{server.port}: this port speaks TLS"):
        rpc.connect("127.0.0.1", server.port, config=tiny)
    wait_for(lambda: refused(caplog))
    (line,) = refused(caplog)
    assert line.endswith("refused: the client does not speak TLS")
    check_board(server.port, tiny, token=TOKEN, ca=folder / "daemon.crt")


def test_a_tls_client_on_a_plain_port(
    serve: Serve, folder: Path, tiny: Config, caplog: pytest.LogCaptureFixture
) -> None:
    server = serve()
    with pytest.raises(RemoteError, match="TLS failed: it does not speak TLS"):
        rpc.connect("127.0.0.1", server.port, ca=folder / "daemon.crt", config=tiny)
    wait_for(lambda: refused(caplog))
    (line,) = refused(caplog)
    assert line.endswith("cut off: the other side speaks TLS, and this side does not")


def test_files_that_are_no_certificates(tmp_path: Path, tiny: Config) -> None:
    for name in ("missing", "junk"):
        (tmp_path / "junk").write_text("junk")
        with pytest.raises(ConfigError, match=f"{name}: cannot be used for TLS"):
            rpc.connect("127.0.0.1", 9, ca=tmp_path / name, config=tiny)
    with pytest.raises(ConfigError, match="a client certificate needs a ca"):
        rpc.connect("127.0.0.1", 9, cert=tmp_path / "junk", config=tiny)
    for ca in (None, tmp_path / "junk"):
        with pytest.raises(ConfigError, match="a client's key needs cert"):
            rpc.connect("127.0.0.1", 9, ca=ca, key_file=tmp_path / "junk", config=tiny)


@pytest.mark.parametrize("host", ["192.0.2.1", "board.invalid", "2001:db8::1"])
def test_a_token_does_not_leave_this_computer_in_clear_text(tiny: Config, host: str) -> None:
    with pytest.raises(ConfigError, match=f"^a token for {host} needs ca: without TLS, anyone"):
        rpc.connect(host, 9, token=TOKEN, config=tiny)


def test_close_cuts_off_a_client_with_tls(
    secure: Callable[..., Server], folder: Path, tiny: Config
) -> None:
    server = secure()
    remote = rpc.connect(
        "127.0.0.1", server.port, token=TOKEN, ca=folder / "daemon.crt", config=tiny
    )
    server.close()
    assert server._links == {}
    with pytest.raises(RemoteError, match="connect again"):
        remote.machine.read(remote._board.info.address, 4)
    remote.close()


def test_environment_variables(
    secure: Callable[..., Server],
    folder: Path,
    tmp_path: Path,
    tiny: Config,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    server = secure("client.crt")
    for name, value in {
        "HOST": "127.0.0.1",
        "PORT": server.port,
        "CA": folder / "daemon.crt",
        "CERT": folder / "client.crt",
        "KEY": folder / "client.key",
        "TOKEN_FILE": tmp_path / "token",
    }.items():
        monkeypatch.setenv(f"VTA_RPC_{name}", str(value))
    with rpc.connect(config=tiny) as remote:
        assert remote.machine.read(remote.machine.allocate(8), 8).sum() == 0
