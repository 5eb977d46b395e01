"""A report as one HTML page that needs nothing else: no script, no address outside, pictures within.

In: a report, and the frames and sentences of what it shows. Out: the page. Every word of a stranger's is escaped, made
visible, and told apart from its surroundings in direction; a picture is one only if its first bytes say so.
"""

from __future__ import annotations

import base64
import html
from typing import TYPE_CHECKING

from stream_app.core.event_time import format_event_time
from stream_app.replay.compare import KINDS
from stream_app.replay.evidence import pieces_of
from stream_app.replay.expect import in_words
from stream_app.terminal.sanitise import visible

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from stream_app.replay.compare import Comparison, Match
    from stream_app.replay.evidence import Shown
    from stream_app.replay.incidents import Incident, Piece
    from stream_app.replay.report import Candidate, Report, Side
    from stream_app.replay.verdicts import Judgement, Share

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_STYLE = """
:root { color-scheme: light dark; --edge: #8886; --soft: #8881; --app: #b3261e; --van: #1b6e3a; --mov: #9a6700;
  --res: #2a5db0 }
@media (prefers-color-scheme: dark) { :root { --app: #ff8a80; --van: #7fd39a; --mov: #f0c060; --res: #8ab4f8 } }
body { font: 15px/1.45 system-ui, sans-serif; margin: 1.5rem auto; max-width: 70rem; padding: 0 1rem }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { border-bottom: 1px solid var(--edge); padding: .25rem .7rem; text-align: left; vertical-align: top;
  max-width: 22rem; overflow-wrap: break-word }
th.n, td.n { text-align: right; white-space: nowrap }
.wide { overflow-x: auto; margin: .6rem 0 }
article { border: 1px solid var(--edge); border-left-width: .35rem; border-radius: .4rem; margin: 1rem 0;
  padding: .6rem .9rem; break-inside: avoid }
article h3 { font-size: 1rem; margin: 0; overflow-wrap: anywhere }
.appeared { border-left-color: var(--app) } .vanished { border-left-color: var(--van) }
.moved { border-left-color: var(--mov) } .rescored { border-left-color: var(--res) }
.kind { display: inline-block; min-width: 5.2rem; font-weight: 700 }
.appeared .kind { color: var(--app) } .vanished .kind { color: var(--van) }
.moved .kind { color: var(--mov) } .rescored .kind { color: var(--res) }
.facts { margin: .3rem 0; color: color-mix(in srgb, currentColor 80%, transparent); overflow-wrap: anywhere }
blockquote { background: var(--soft); border-radius: .3rem; margin: .35rem 0; padding: .35rem .6rem;
  overflow-wrap: anywhere }
.frames { display: flex; flex-wrap: wrap; gap: .6rem; margin-top: .5rem }
figure { margin: 0; width: 12.5rem } figure img { max-width: 100%; max-height: 14rem;
  border-radius: .3rem; display: block }
figcaption, small { font-size: .78rem; overflow-wrap: anywhere }
.failed { color: var(--app); font-weight: 600 }
"""
#: Media types that admission lets through, by the first bytes.
_MEDIA = ((b"\xff\xd8\xff", "image/jpeg"), (b"\x89PNG\r\n\x1a\n", "image/png"))


def page_of(report: Report, shown: Shown) -> str:
    """Return the page."""
    title = "Vigil comparison" if report.candidates else "Vigil replay"
    head = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{_STYLE}</style></head><body><h1>{title}</h1>"
    )
    return "\n".join([head, *_body(report, shown), "</body></html>", ""])


def _body(report: Report, shown: Shown) -> Iterator[str]:
    yield _recordings(report)
    yield _judges(report)
    yield from (f"<p>Note: {_safe(note)}</p>" for note in report.notes)
    if shown.has_left_out:
        yield "<p>Note: there was no room for the frames of some incidents.</p>"
    if not report.candidates:
        yield f"<h2>{len(report.base.incidents)} incidents</h2>"
        yield from _outcome(report.base)
        yield from (_article("", incident, None, incident, shown) for incident in report.base.incidents)
    for candidate in report.candidates:
        yield from _candidate(report, candidate, shown)


def _recordings(report: Report) -> str:
    rows = [
        (
            _safe(one.name),
            _safe(one.deployment),
            "" if one.first_ms is None else _time(one.first_ms),
            "" if one.last_ms is None else _time(one.last_ms),
            f"{one.frames:,}",
            f"{one.texts:,}",
        )
        for one in report.recordings
    ]
    return _table(("recording", "deployment", "first input (UTC)", "last input (UTC)", "#frames", "#texts"), rows)


def _judges(report: Report) -> str:
    rows = [
        (
            side.judge.name,
            _safe(side.judge.model),
            _safe(side.judge.words),
            f"<code>{side.judge.model_sha256[:12]}</code>",
            f"<code>{side.judge.settings_sha256[:12]}</code>",
            f"{len(side.incidents):,}",
        )
        for side in report.sides
    ]
    return _table(("side", "model", "judged by", "model hash", "settings hash", "#incidents"), rows)


def _candidate(report: Report, candidate: Candidate, shown: Shown) -> Iterator[str]:
    comparison = candidate.comparison
    arrow = f"{report.base.judge.name} → {candidate.side.judge.name}"
    yield f"<h2>{arrow}</h2>"
    yield _counts(report, candidate, arrow)
    yield from _alarms(comparison, report.operators)
    if comparison.verdicts is not None:
        yield _verdicts(comparison.verdicts.before, comparison.verdicts.after, arrow)
    yield from _outcome(candidate.side)
    count = len(comparison.differing)
    yield f"<h2>{arrow}: {count} incident{'' if count == 1 else 's'} differ{'s' if count == 1 else ''}</h2>"
    yield from (_match(match, shown) for match in comparison.differing)


def _counts(report: Report, candidate: Candidate, arrow: str) -> str:
    comparison = candidate.comparison
    rows: list[tuple[str, ...]] = [
        (
            _safe(row.label), _safe(row.zone), f"{row.before} → {row.after}",
            *map(_count, (row.appeared, row.vanished, row.moved, row.rescored, row.same)),
        )
        for row in comparison.rows
    ]  # fmt: skip
    counts = [_count(sum(match.kind == kind for match in comparison.matches)) for kind in KINDS]
    rows.append(("all", "", f"{len(report.base.incidents)} → {len(candidate.side.incidents)}", *counts))
    return _table(("label", "zone", f"#{arrow}", *(f"#{kind}" for kind in KINDS)), rows)


def _alarms(comparison: Comparison, operators: int) -> Iterator[str]:
    before, after = comparison.alarms.before, comparison.alarms.after
    who = "the operator" if operators == 1 else f"each of {operators} operators"
    yield (
        f"<p>Alarms for {who} in ten minutes: peak {before.peak:g} → {after.peak:g}, "
        f"mean {before.mean:g} → {after.mean:g}.</p>"
    )


def _verdicts(before: Judgement, after: Judgement, arrow: str) -> str:
    rows = [
        ("true", f"{before.true} → {after.true}"),
        ("false", f"{before.false} → {after.false}"),
        ("unjudged", f"{before.unjudged} → {after.unjudged}"),
        ("missed", f"{before.missed} → {after.missed}"),
        ("precision", f"{_share(before.precision)} → {_share(after.precision)}"),
        ("recall", f"{_share(before.recall)} → {_share(after.recall)}"),
    ]
    return _table(("verdicts", f"#{arrow}"), rows)


def _share(share: Share) -> str:
    if share.share is None:
        return "none judged"
    return f"{share.share:.2f} [{share.low:.2f}, {share.high:.2f}]"


def _outcome(side: Side) -> Iterator[str]:
    if side.outcome is not None:
        mark = "" if side.outcome.holds else ' class="failed"'
        yield f"<p{mark}>Expected of {side.judge.name}:</p><ul>"
        yield from (f"<li>{html.escape(line)}</li>" for line in in_words(side.outcome))
        yield "</ul>"


def _match(match: Match, shown: Shown) -> str:
    return _article(match.kind, match.either, match.before, match.after, shown)


def _article(kind: str, one: Incident, before: Incident | None, after: Incident | None, shown: Shown) -> str:
    word = f'<span class="kind">{kind}</span> ' if kind else ""
    lines = [f'<article class="{kind}"><h3>{word}{_safe(one.label)} in {_safe(one.zone)}</h3>']
    if before is not None and after is not None:
        lines += [_facts("before", before), _facts("after", after)]
    else:
        lines.append(_facts("", one))
    pieces = pieces_of(one)
    if before is not None and before is not one:
        both = dict.fromkeys((*pieces, *pieces_of(before)))
        pieces = tuple(sorted(both, key=lambda piece: (piece.time_ms, piece.place)))
    lines += [_text(piece, shown) for piece in pieces if piece.kind == "text"]
    figures = [_figure(piece, shown) for piece in pieces if piece.kind == "frame"]
    if figures:
        lines += ['<div class="frames">', *figures, "</div>"]
    return "\n".join([*lines, "</article>"])


def _facts(word: str, incident: Incident) -> str:
    start = f"{word}: " if word else ""
    lasts = (incident.end_ms - incident.start_ms) / 1_000
    count = len(incident.evidence) + incident.evidence_left_out
    cameras = f", cameras {_safe(', '.join(incident.cameras))}" if incident.cameras else ""
    severity = "" if incident.severity is None else f", severity {incident.severity}"
    return (
        f'<p class="facts">{start}{_time(incident.start_ms)} for {lasts:.1f} s, score {incident.score:.3f} '
        f"(threshold {incident.threshold:.3f}){severity}{cameras}, {count} pieces of evidence</p>"
    )


def _text(piece: Piece, shown: Shown) -> str:
    words = shown.text(piece)
    said = "<i>not in the recording</i>" if words is None else _safe(words)
    return f"<blockquote>{said}<br><small>{_time(piece.time_ms)} {_safe(str(piece.place))}</small></blockquote>"


def _figure(piece: Piece, shown: Shown) -> str:
    data = shown.frame(piece)
    media = None if data is None else _media_type(data)
    camera = f"{_safe(piece.camera)} " if piece.camera else ""
    caption = f"<figcaption>{camera}{_time(piece.time_ms)} {_safe(str(piece.place))}</figcaption>"
    if data is None or media is None:
        return f"<figure><i>no picture at hand</i>{caption}</figure>"
    source = f"data:{media};base64,{base64.b64encode(data).decode()}"
    return f'<figure><img alt="frame" src="{source}">{caption}</figure>'


def _media_type(data: bytes) -> str | None:
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "image/webp"
    return next((media for begin, media in _MEDIA if data.startswith(begin)), None)


def _table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out a table; a column whose name begins with # holds numbers. Cells are HTML already."""
    is_number = [name.startswith("#") for name in names]
    head = "".join(_cell("th", name.removeprefix("#"), right) for name, right in zip(names, is_number, strict=True))
    body = "".join(
        f"<tr>{''.join(_cell('td', cell, right) for cell, right in zip(row, is_number, strict=True))}</tr>"
        for row in rows
    )
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(tag: str, content: str, right: bool) -> str:  # noqa: FBT001 - a column's side
    return f'<{tag} class="n">{content}</{tag}>' if right else f"<{tag}>{content}</{tag}>"


def _count(number: int) -> str:
    return f"{number:,}" if number else "·"


def _time(time_ms: int) -> str:
    return format_event_time(time_ms)[:23].replace("T", " ")


def _safe(text: str) -> str:
    """Return a stranger's words for a place between tags; what they do to direction ends with them."""
    return f"<bdi>{html.escape(visible(text))}</bdi>"
