// How what was found lies over time. A bar is a button: it narrows the search to its span.
import { count } from "../base/format";
import { clock, parse } from "../base/time";
import type { EventRow } from "../shapes";

const BARS = 60;

export function Histogram({ rows, onChoose }: { rows: EventRow[]; onChoose: (from: string, to: string) => void }) {
  const times = rows.map((row) => parse(row.t));
  const [first, last] = [Math.min(...times), Math.max(...times)];
  const width = Math.max(1, (last - first) / BARS);
  const bars = new Array<number>(BARS).fill(0);
  for (const time of times) bars[Math.min(BARS - 1, Math.floor((time - first) / width))]! += 1;
  const top = Math.max(...bars);
  const said = `${count(rows.length)} events from ${clock(first, { millis: true })} to ${clock(last, { millis: true })}`;
  return (
    <div class="histogram">
      <svg viewBox="0 0 600 36" preserveAspectRatio="none" role="img" aria-label={said}>
        {bars.map((value, at) => (
          <rect
            key={at}
            x={at * 10}
            y={36 - (value / top) * 34}
            width={9}
            height={(value / top) * 34}
            onClick={() => onChoose(new Date(first + at * width).toISOString(), new Date(first + (at + 1) * width).toISOString())}
          >
            <title>{`${count(value)} from ${clock(first + at * width, { millis: true })}: click to search there`}</title>
          </rect>
        ))}
      </svg>
      <span class="dim">{clock(first, { millis: true })}</span>
      <span class="dim num">{clock(last, { millis: true })}</span>
    </div>
  );
}
