"""The rows of an import of ratings: progress, and the end of an interrupted import."""

from pathlib import Path

from movie_adapters.catalogue.training_files import TrainingFile
from movie_cli.recommend import RowsWithProgress


def rows(folder: Path, count: int) -> tuple[RowsWithProgress, list[tuple[int, int, str]]]:
    """The rows of a file, and the progress that they report."""
    (folder / "links.csv").write_text("movieId,imdbId,tmdbId\n1,1,\n")
    path = folder / "ratings.csv"
    path.write_text("userId,movieId,rating,timestamp\n" + "".join(f"{n},1,4.5,{n}\n" for n in range(count)))
    reported: list[tuple[int, int, str]] = []
    return RowsWithProgress(TrainingFile(path), lambda *progress: reported.append(progress)), reported


def test_the_progress_of_each_reading_is_reported(tmp_path: Path) -> None:
    read, reported = rows(tmp_path, 25_000)
    assert len(list(read)) == len(list(read)) == 25_000
    assert [step for _, _, step in reported] == ["reading"] * 3 + ["storing"] * 3
    for start in (0, 3):
        done = [done for done, _, _ in reported[start : start + 3]]
        assert done == sorted(done)
        assert all(0 < part <= total for part, (_, total, _) in zip(done, reported, strict=False))


def test_an_interrupted_reading_ends(tmp_path: Path) -> None:
    read, _ = rows(tmp_path, 25_000)
    iterator = iter(read)
    next(iterator)
    read.is_cancelled = True
    assert len(list(iterator)) < 10_000
