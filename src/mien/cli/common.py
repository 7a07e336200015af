"""What the commands share: the program, common options, one-line errors, progress bars."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from mien.errors import MienError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Swap faces in pictures and video, hide them, and see what was done.",
)

Out = Annotated[Path, typer.Option("--out", "-o", help="The file (or folder of numbered pictures) to write.")]
Detector = Annotated[str, typer.Option(help="auto, mien (ours), mtcnn or yunet (where its file is).")]
Landmarks = Annotated[str, typer.Option(help="auto, mesh (ours) or teacher (MediaPipe's file and ai-edge-litert).")]
Every = Annotated[int, typer.Option(help="Look for new faces every so many frames; meshes follow in between.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an output that is there already.")]
Consent = Annotated[str | None, typer.Option(help="What the source person agreed to: words, or a text file.")]
Sets = Annotated[list[str] | None, typer.Option("--set", help="An option of the system, NAME=VALUE; may be repeated.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the resolved settings and stop.")]
Profile = Annotated[bool, typer.Option("--profile", help="Print where the time went.")]
Quality = Annotated[int, typer.Option(help="x264's crf, less is better; a JPEG follows it: 18 is its quality 95.")]

NoSign = Annotated[bool, typer.Option("--no-sign", help="Leave the output without a signature (C2PA).")]
NoMark = Annotated[bool, typer.Option("--no-mark", help="Leave the output without the invisible mark.")]
Label = Annotated[str | None, typer.Option(help="Words to show in a corner of every picture with a swapped face.")]
Certificate = Annotated[Path | None, typer.Option(help="PEM chain to sign with, instead of this machine's own.")]
Key = Annotated[Path | None, typer.Option(help="PEM file with the certificate's private key.")]
Passphrase = Annotated[Path | None, typer.Option(help="A text file whose words the protected list is locked with.")]


def reports(command: Callable[..., None]) -> Callable[..., None]:
    """Turn what a user can mend into one line on standard error and exit status 2."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except MienError as error:
            typer.echo(f"mien: {' '.join(str(error).split())}", err=True)
            raise typer.Exit(2) from None
        except KeyboardInterrupt:
            typer.echo("mien: stopped; run the same command again to go on from the last finished chunk", err=True)
            raise typer.Exit(130) from None

    return run


class bars:
    """Progress bars with the time left, on standard error; silent when that is no terminal. Called (stage, done, total)."""

    def __enter__(self) -> bars:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        console = Console(stderr=True)
        columns = (TextColumn("{task.description:>10}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, console=console, disable=not console.is_terminal)
        self._tasks: dict[str, Any] = {}
        self._progress.start()
        return self

    def __call__(self, stage: str, done: int, total: int) -> None:
        if stage not in self._tasks:
            self._tasks[stage] = self._progress.add_task(stage, total=total)
        self._progress.update(self._tasks[stage], completed=done, total=total)

    def __exit__(self, *error: object) -> None:
        self._progress.stop()
