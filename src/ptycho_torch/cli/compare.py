"""Command that compares two debug dumps."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer()

_DUMP = "folder with dump.json and arrays.npz, ours or another program's (docs/parity.md)"


@app.command()
def compare(
    a: Annotated[Path, typer.Argument(help=f"Reference: {_DUMP}.")],
    b: Annotated[Path, typer.Argument(help=f"What is compared with it: {_DUMP}.")],
    tolerance: Annotated[
        float,
        typer.Option(
            help="What a ratio may deviate from 1, a relative MAE may be, an SSIM may lack to 1; "
            "between 0 and 1, no unit."
        ),
    ] = 0.1,
    free_scale: Annotated[
        bool,
        typer.Option(
            "--free-scale",
            help="The images' scale is a gauge (refined probe): fit it and do not judge it.",
        ),
    ] = False,
    output_dir: Annotated[
        Path, typer.Option(help="Where compare.json, compare.md and compare.png go.")
    ] = Path("comparison"),
) -> None:
    """Compare two dumps by scale, variance and image; exit status 0: passed, 2: failed, 1: neither.

    1 is bad input: nothing was compared and nothing is written.
    """
    from ptycho_torch.infer.parity.compare import compare as compare_dumps
    from ptycho_torch.infer.parity.compare import comparison_text, write_comparison
    from ptycho_torch.infer.parity.dump import read_dump

    record, pair = compare_dumps(
        read_dump(a), read_dump(b), tolerance=tolerance, free_scale=free_scale
    )
    write_comparison(output_dir, record, pair)
    typer.echo(comparison_text(record))
    if not record["passed"]:
        raise typer.Exit(2)
