"""``gantry conflicts``: what came in and contradicts itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.reach import beside_the_archive
from services.cli.table import show

if TYPE_CHECKING:
    from services.common.catalog.conflicts import Conflict

app = typer.Typer()

_COLUMNS = ("study", "kind", "patient ID", "issuer", "name", "birth date", "sex", "images", "in versions")


@app.command()
def conflicts(
    kind: Annotated[str, typer.Option(help="Only this kind, such as two-people.")] = "",
    after: Annotated[str, typer.Option(help="Go on behind this subject; needs a kind.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="At most so many of each kind.")] = 100,
) -> None:
    """List what came in and contradicts itself: a line for each study."""
    from services.common.adapters.postgres import Postgres
    from services.common.catalog.conflict_words import WORDS
    from services.common.catalog.conflicts import BY_SLUG, PostgresConflicts

    if kind and kind not in BY_SLUG:
        raise typer.BadParameter(f"one of {', '.join(BY_SLUG)}", param_hint="--kind")
    if after and not kind:
        raise typer.BadParameter("needs --kind", param_hint="--after")
    wanted = [BY_SLUG[kind]] if kind else list(BY_SLUG.values())
    with beside_the_archive() as settings:
        catalog = PostgresConflicts(Postgres(settings.postgres))
        found = {one: catalog.of_kind(one, after=after, limit=limit) for one in wanted}
    for one, its in found.items():
        if its:
            typer.echo(f"{WORDS[one].title}: {WORDS[one].meaning}", err=True)
            show(_COLUMNS, [row for conflict in its for row in _rows(conflict)])
        if len(its) == limit:
            typer.echo(f"there may be more: --kind {one.slug} --after {its[-1].subject!r}", err=True)
    if not any(found.values()):
        typer.echo("nothing contradicts itself", err=True)


def _rows(conflict: Conflict) -> Iterator[tuple[str, ...]]:
    for study in conflict.studies:
        yield (
            study.study_instance_uid,
            conflict.kind.slug,
            study.patient_id,
            study.issuer,
            study.patient_name,
            " or ".join(study.stated_birth_dates) or study.birth_date,
            " or ".join(study.stated_sexes) or study.sex,
            str(study.instances),
            str(conflict.number_of_instances),
        )
