"""The commands that run a service, or all of them, and the one that prepares their stores."""

from __future__ import annotations

import os
import socket
from typing import Annotated

import typer

from services.cli.counting import MULTIPROC_DIR, counted_together
from services.cli.reach import reaching
from services.common.errors import Unavailable
from services.common.settings import CommonSettings

app = typer.Typer()

_FileDescriptor = Annotated[int | None, typer.Option(help="Serve on this inherited listening socket.")]


@app.command()
def up() -> None:
    """Run the whole archive on this machine, in the foreground."""
    settings = CommonSettings()
    data_dir = settings.data_dir.expanduser().absolute()
    counts = data_dir / "metrics"
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        counts.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as exc:
        raise Unavailable(f"the data folder {data_dir} cannot be made: {exc.strerror}") from exc
    # Read when the metrics are made, which is when modules that count are imported.
    os.environ[MULTIPROC_DIR] = str(counts)
    from services.up import up

    up(settings)


@app.command(hidden=True)
def listen(fd: _FileDescriptor = None) -> None:
    """Serve ingest and Q/R on one DIMSE listener."""
    from services.up import listen

    listen(CommonSettings(), _inherited(fd))


@app.command()
def ingest() -> None:
    """Serve C-STORE."""
    with counted_together():
        from services.ingest.__main__ import main

        main()


@app.command()
def qr() -> None:
    """Serve C-FIND, C-MOVE and C-GET, and C-STORE for associations that mix them."""
    with counted_together():
        from services.qr.__main__ import main

        main()


@app.command()
def index() -> None:
    """Fill the catalog from the queue."""
    with counted_together():
        from services.index.__main__ import main

        main()


@app.command()
def transcode() -> None:
    """Make renditions and thumbnails from the queue."""
    with counted_together():
        from services.transcode.__main__ import main

        main()


@app.command()
def sweep() -> None:
    """Tell again of what never reached the catalog."""
    from services.index.sweep import main

    main()


@app.command()
def api(fd: _FileDescriptor = None) -> None:
    """Serve DICOMweb, WADO and the pages."""
    from services.api.__main__ import main

    main(listening=_inherited(fd))


@app.command()
def migrate() -> None:
    """Make the bucket if it is missing, and bring the catalog's schema up to date."""
    from services.common.adapters.postgres import Postgres
    from services.common.adapters.stores import prepare_store
    from services.common.catalog.migrate import migrate

    settings = reaching()
    prepare_store(settings)
    for name in migrate(Postgres(settings.postgres)):
        typer.echo(f"applied {name}")


def _inherited(fd: int | None) -> socket.socket | None:
    """The socket that a parent bound and left open under this number."""
    return None if fd is None else socket.socket(fileno=fd)
