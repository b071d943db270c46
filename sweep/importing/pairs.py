"""Which texts are of one run: its stdout and its stderr, or a client's output and its server's log.

A run has one report at most. So of two texts with different reports each is a run, whatever they are called; and a text
without one, such as what went to stderr, belongs to the run beside it that has the same name, but for the word that
names the stream. The log of a server belongs to its client's run if that is called the same, but for the words that
name the programs, or is the only run of the folder.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sweep.errors import ReportError
from sweep.importing.names import SERVER, is_error_stream, names_a_stream, stem_of, without_role, without_stream
from sweep.importing.signs import Signs, signs_of
from sweep.importing.value import FileKind, Run, open_file, read_file
from sweep.report import Report, parse_report, read_log
from sweep.report.agreement import Precision, disagreements

NOT_A_LOG = "it is not a log or report of trtllm-bench or benchmark_serving"
A_SERVER = "it is the log of a server, whose clients' output is a run"
ALONE = "it belongs to a report, which is not here"


@dataclass(slots=True, eq=False)
class Text:
    """A text that may be the log of a run; `named` if it was named itself, not only its folder."""

    path: Path
    named: bool
    signs: Signs

    @classmethod
    def of(cls, path: Path, *, named: bool) -> Text:
        """Look through a text.

        Raises:
            OSError, EOFError: it cannot be read or unpacked.
        """
        return cls(path, named, signs_of(path))

    @property
    def order(self) -> tuple[bool, bool, Path]:
        """Sort a run's texts: the report's last, for it has the last word, else what went to stderr."""
        return self.signs.report, is_error_stream(self.path), self.path


@dataclass(slots=True, eq=False)
class Group:
    """Files that have the same name up to their suffix; `stem` is that name, in its folder."""

    folder: Path
    stem: str
    files: dict[FileKind, Path] = field(default_factory=dict)
    named: list[Path] = field(default_factory=list)
    texts: dict[Path, Text] = field(default_factory=dict)

    @property
    def has_report(self) -> bool:
        kinds = {FileKind.REPORT, FileKind.REQUESTS}
        return bool(kinds & self.files.keys()) or any(text.signs.report for text in self.texts.values())

    @property
    def is_run(self) -> bool:
        of_ours = FileKind.ENVIRONMENT in self.files and bool(self.texts)
        return self.has_report or of_ours or any(text.signs.of_a_run for text in self.texts.values())

    @property
    def is_server(self) -> bool:
        """Whether its texts are a server's, by what it prints or is called."""
        served = any(text.signs.server and not text.signs.client for text in self.texts.values())
        return served or SERVER.search(self.stem) is not None

    def take(self, other: Group) -> None:
        """Make the files of another group this one's."""
        self.files = other.files | self.files
        self.named += other.named
        self.texts |= other.texts


def runs_of(groups: Iterable[Group]) -> tuple[list[Run], dict[Path, str]]:
    """Return the runs that these files are of, and why the others are of none.

    Raises:
        OSError, EOFError: a file went away or cannot be unpacked.
    """
    parts = [part for group in groups for one in _named_apart(group) for part in _parts(one)]
    parts = _joined(parts, without_stream, lambda one, other: True)
    parts = _joined(parts, without_role, lambda one, other: one.is_server != other.is_server)
    runs: list[Run] = []
    others: dict[Path, str] = {}
    for group in _with_servers(parts):
        if group.is_run:
            runs.append(_run(group, others))
        else:
            others |= dict.fromkeys(group.files.values(), ALONE) | {
                path: _why_not(text) for path, text in group.texts.items()
            }
    return runs, others


def _why_not(text: Text) -> str:
    return A_SERVER if text.signs.server else NOT_A_LOG


def _run(group: Group, others: dict[Path, str]) -> Run:
    """Return the run of a group; a text that only happens to be called like it goes to the others."""
    files, named, texts = dict(group.files), list(group.named), []
    for text in sorted(group.texts.values(), key=lambda text: text.order):
        if text.signs.any or names_a_stream(text.path.name) or FileKind.ENVIRONMENT in files:
            texts.append(text)
        else:
            others[text.path] = _why_not(text)
    if texts:
        files[FileKind.LOG] = texts[-1].path
        if any(text.named for text in texts) or not (named or FileKind.REPORT in files):
            named.append(texts[-1 if texts[-1].signs.report else 0].path)
    if not named:
        named.append(files.get(FileKind.REPORT) or files[FileKind.REQUESTS])  # every metric follows from the records
    return Run(files=files, beside=[text.path for text in texts[:-1]], named=named)


def _named_apart(group: Group) -> Iterator[Group]:
    """Yield the group of a folder that is one run's, and one for each name that several of its texts have."""
    by_name: dict[str, dict[Path, Text]] = {}
    for path, text in group.texts.items() if not group.stem else ():
        by_name.setdefault(without_stream(stem_of(path)), {})[path] = text
    if len(by_name) > 1:
        group.texts = by_name.pop("", {})
        for name, texts in by_name.items():
            yield Group(group.folder, name, texts=texts)
    yield group


def _parts(group: Group) -> Iterator[Group]:
    """Yield a group, or one for each of the different reports that its texts hold."""
    reporting = sorted((text for text in group.texts.values() if text.signs.report), key=lambda text: text.path)
    by_report: list[tuple[Report | None, list[Text]]] = []
    for text in reporting if len(reporting) > 1 else ():
        report = _report_in(text.path)
        same = next((texts for known, texts in by_report if known == report and report is not None), None)
        if same is None:
            by_report.append((report, [text]))
        else:
            same.append(text)
    if len(by_report) > 1:
        (_, own), *rest = sorted(by_report, key=lambda one: not _agrees(one[0], group.files.get(FileKind.REPORT)))
        silent = [text for text in group.texts.values() if not text.signs.report]
        group.texts = {text.path: text for text in (*silent, *own)}
        for _, texts in rest:
            yield Group(group.folder, texts[0].path.name, texts={text.path: text for text in texts})
    yield group


def _report_in(path: Path) -> Report | None:
    try:
        with open_file(path) as file:
            return read_log(file).report
    except (OSError, EOFError, zlib.error):
        return None  # read_run says why


def _agrees(report: Report | None, json: Path | None) -> bool:
    """Return whether a printed report says what the JSON says that has its name."""
    if report is None or json is None:
        return report is not None
    try:
        return not [*disagreements(parse_report(read_file(json)), report, Precision.PRINTED)]
    except ReportError:
        return False


def _joined(groups: list[Group], name: Callable[[str], str], may_join: Callable[[Group, Group], bool]) -> list[Group]:
    """Return the groups, those without a report taken by the one that has the same name."""
    by_name: dict[tuple[Path, str], list[Group]] = {}
    for group in groups:
        by_name.setdefault((group.folder, name(group.stem)), []).append(group)
    for same in by_name.values():
        for orphan in [group for group in same if not group.has_report]:
            partners = [group for group in same if group is not orphan and may_join(group, orphan)]
            partners = [group for group in partners if group.has_report] or partners[:1]
            if len(partners) == 1:
                partners[0].take(orphan)
                same.remove(orphan)
    return [group for same in by_name.values() for group in same]


def _with_servers(groups: Iterable[Group]) -> Iterator[Group]:
    """Yield the groups; the only run of a folder takes its only log of a server."""
    by_folder: dict[Path, list[Group]] = {}
    for group in groups:
        by_folder.setdefault(group.folder, []).append(group)
    for groups in by_folder.values():
        servers = [group for group in groups if group.is_server and not group.has_report and not group.files]
        runs = [group for group in groups if group.is_run and group not in servers]
        if len(servers) == len(runs) == 1:
            runs[0].take(servers[0])
            groups.remove(servers[0])
        yield from groups
