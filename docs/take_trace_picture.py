"""Take the picture of docs/integrations/otel.md: a real run, traced, and its spans drawn as SVG.

Needs the environment of `make test-integrations`. The emulator runs in real time, as for the other
pictures, so this takes five minutes::

    .venv-integrations/bin/python docs/take_trace_picture.py
"""

import asyncio
import tempfile
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from fireworks_batch import BatchClient, Limits
from fireworks_batch.emulator import Emulator
from fireworks_batch.integrations import otel

PICTURE = Path(__file__).parent / "pictures" / "trace.svg"
MODEL = "accounts/fireworks/models/demo-8b"
WIDTH, LEFT, ROW, TOP = 760, 250, 26, 34
BARS = WIDTH - LEFT - 44
STYLE = """
  text { font: 12px sans-serif; fill: #1b2a41 }
  .paper { fill: #ffffff }
  .grid { stroke: #d9dee7 }
  .time, .key { fill: #5b6678 }
  .fact { font: 10.5px Menlo, Consolas, 'DejaVu Sans Mono', monospace }
  .caller { fill: #b8c0cc }
  .call { fill: #1b4f9c }
  .wait { fill: #8fb0df }
  @media (prefers-color-scheme: dark) {
    text { fill: #d4d7dc }
    .paper { fill: #181a1f }
    .grid { stroke: #3f4451 }
    .time, .key { fill: #9aa3b2 }
    .caller { fill: #5b6678 }
    .call { fill: #61afef }
    .wait { fill: #3f6ea5 }
  }
"""


async def traced() -> Sequence[ReadableSpan]:
    """Run 600 requests as three jobs, and the ten rows that fail in a fourth; return the spans."""
    exporter = InMemorySpanExporter()
    tracers = TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    body = {"messages": [{"role": "user", "content": "What is a batch?"}]}
    rows = [{"custom_id": f"r{number}", "body": body} for number in range(600)]
    async with Emulator(speed=1) as emulator:
        for seconds in (120, 240, 180):
            running = {"state": "RUNNING", "seconds": seconds}
            emulator.script_jobs(phases=["VALIDATING", running, "COMPLETED"])
        emulator.script_jobs(phases=[{"state": "RUNNING", "seconds": 60}, "COMPLETED"], times=None)
        emulator.fail_rows("r41?", times=1, code=503)
        given = BatchClient(
            api_key=emulator.api_key, account_id=emulator.account_id, base_url=emulator.base_url
        )
        async with otel.trace(given, tracer_provider=tracers) as client:
            with (
                tempfile.TemporaryDirectory() as directory,
                tracers.get_tracer("reports").start_as_current_span("nightly report"),
            ):
                result = await client.run(
                    rows, model=MODEL, name="nightly", limits=Limits(max_rows=200), retry_rows=1
                )
                await result.aclose()
                output = (await client.jobs.get(result.report.jobs[0].job_id)).output_dataset_id
                await client.datasets.download(output, directory)
    return sorted(exporter.get_finished_spans(), key=_start)


def drawn(spans: Sequence[ReadableSpan]) -> str:
    """Draw the spans of a trace, and the attributes of two of them."""
    first, last = min(map(_start, spans)), max(map(_end, spans))
    run = next(span for span in spans if span.name.startswith("run_batch"))
    wait = next(span for span in spans if (span.attributes or {}).get("fireworks.rows.failed"))
    facts = {"the run": list(_facts(run)), "a wait": list(_facts(wait))}
    under = TOP + ROW * len(spans)
    height = under + 34 + 17 * max(map(len, facts.values()))
    opening = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}">'
    parts = [opening, "<title>The spans of a run</title>", f"<style>{STYLE}</style>"]
    parts += [f'<rect class="paper" width="{WIDTH}" height="{height}" rx="6"/>']
    parts += _grid((last - first) / 1e9, under)
    for number, span in enumerate(spans):
        parts += _bar(span, spans, TOP + ROW * number, first, last)
    for column, (name, lines) in enumerate(facts.items()):
        x = 16 + 374 * column
        parts += [_text(x, under + 24, f"Attributes of {name}:", "key")]
        parts += [_text(x, under + 44 + 17 * row, line, "fact") for row, line in enumerate(lines)]
    return "\n".join([*parts, "</svg>\n"])


def _start(span: ReadableSpan) -> int:
    return span.start_time or 0


def _end(span: ReadableSpan) -> int:
    return span.end_time or 0


def _grid(seconds: float, bottom: float) -> Iterator[str]:
    """Draw a line for each minute, or for every second one."""
    step = 120 if seconds > 600 else 60
    for moment in range(0, int(seconds) + 1, step):
        x = LEFT + BARS * moment / seconds
        yield f'<line class="grid" x1="{x:.1f}" y1="{TOP - 6}" x2="{x:.1f}" y2="{bottom}"/>'
        yield _text(x, TOP - 14, f"{moment // 60} min", "time")


def _bar(
    span: ReadableSpan, spans: Sequence[ReadableSpan], y: float, first: int, last: int
) -> Iterator[str]:
    depth, start, end = _depth(span, spans), _start(span), _end(span)
    x = LEFT + BARS * (start - first) / (last - first)
    width = max(2.0, BARS * (end - start) / (last - first))
    kind = "caller" if not depth else "wait" if depth > 1 else "call"
    name, _, _ = span.name.partition(" accounts/")
    job = (span.attributes or {}).get("fireworks.job.id", "")
    yield _text(16 + 16 * depth, y + 16, name)
    yield f'<rect class="{kind}" x="{x:.1f}" y="{y + 3}" width="{width:.1f}" height="18" rx="2">'
    yield f"<title>{escape(str(job))} {(end - start) / 1e9:.0f} s</title></rect>"


def _depth(span: ReadableSpan, spans: Sequence[ReadableSpan]) -> int:
    parent = span.parent.span_id if span.parent else None
    above = next((one for one in spans if one.context.span_id == parent), None)
    return 0 if above is None else 1 + _depth(above, spans)


def _facts(span: ReadableSpan) -> Iterator[str]:
    for key, value in (span.attributes or {}).items():
        said = f"{len(value)} ids" if isinstance(value, tuple) else str(value)
        yield f"{key}: {said}"


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text{named} x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'


def main() -> None:
    """Take the picture."""
    PICTURE.write_text(drawn(asyncio.run(traced())), encoding="utf-8")
    print(PICTURE.name)


if __name__ == "__main__":
    main()
