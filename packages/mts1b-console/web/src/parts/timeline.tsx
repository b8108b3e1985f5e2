// A story over time: a lane a service, a mark an event. Where nothing happens for long the axis is broken, and says for
// how long.
import { useSignal } from "@preact/signals";
import { useEffect, useMemo, useRef } from "preact/hooks";
import { service, subject } from "../base/format";
import { clock, parse, span } from "../base/time";
import type { Missing, StoryEvent } from "../shapes";

export type Axis = "time" | "step";

const LANE = 24;
const LEFT = 104;
const TOP = 22;
/** From the last event to the words about what is missing. */
const BESIDE = 60;

interface Break {
  x: number;
  seconds: number;
}

export interface Placed {
  xs: number[];
  breaks: Break[];
  width: number;
}

/** Where each event stands. Spaces longer than ten usual ones are broken. Pure. */
export function place(times: readonly number[], axis: Axis): Placed {
  const gaps = times.slice(1).map((time, at) => Math.max(0, time - times[at]!));
  const positive = gaps.filter((gap) => gap > 0).sort((one, other) => one - other);
  const usual = positive[Math.floor(positive.length / 2)] ?? 1;
  const xs: number[] = [0];
  const breaks: Break[] = [];
  for (const gap of gaps) {
    const before = xs[xs.length - 1]!;
    if (axis === "step") xs.push(before + 60);
    else if (gap > 10 * usual) {
      breaks.push({ x: before + 45, seconds: gap / 1000 });
      xs.push(before + 90);
    } else xs.push(before + Math.min(220, 10 + (gap / usual) * 26));
  }
  return { xs, breaks, width: xs[xs.length - 1] ?? 0 };
}

interface TimelineProps {
  events: StoryEvent[];
  missing: Missing[];
  axis: Axis;
  chosen: string;
  onOpen: (id: string) => void;
}

export function Timeline({ events, missing, axis, chosen, onOpen }: TimelineProps) {
  const placed = useMemo(() => place(events.map((each) => parse(each.event.t)), axis), [events, axis]);
  const box = useRef<HTMLDivElement>(null);
  const moved = useSignal(false);
  useEffect(() => {
    if (missing.length > 0 && box.current) box.current.scrollLeft = box.current.scrollWidth; // what is missing is at the end
  }, [missing.length > 0]);
  const lanes = [...new Set([...events.map((each) => each.event.by || "?"), ...missing.map((each) => each.by)])];
  const late = missing.length > 0;
  const lead = 10;
  const waits = missing.map((each) => span(each.waiting_seconds).length);
  const width = Math.max(220, lead + placed.width + (late ? BESIDE + 8 * (Math.max(...waits) + 2) : 40));
  const height = TOP + lanes.length * LANE + 8;
  const y = (by: string): number => TOP + lanes.indexOf(by) * LANE + LANE / 2;
  const at = new Map(events.map((each, index) => [each.event.id, index]));
  const first = events[0];
  const last = events[events.length - 1];
  return (
    <div class="timeline">
      <svg class="lanes" width={LEFT} height={height} aria-hidden="true">
        {lanes.map((by) => (
          <text key={by} x={8} y={y(by) + 4}>
            {service(by)}
          </text>
        ))}
      </svg>
      <div class="scroll" ref={box} tabIndex={0} role="region" aria-label="timeline" onScroll={(event) => (moved.value = event.currentTarget.scrollLeft > lead)}>
      <svg height={height} style={{ minWidth: `${width}px` }} role="group" aria-label={`${events.length} events by ${lanes.map(service).join(", ")}`}>
        {lanes.map((by) => (
          <line key={by} class="lane" x1={0} x2="100%" y1={y(by)} y2={y(by)} />
        ))}
        {first && !moved.value && (
          <text class="when" x={lead} y={13}>
            {clock(first.event.t, { millis: true })}
          </text>
        )}
        {last && events.length > 1 && placed.width > 170 && (
          <text class="when" x={lead + placed.width} y={13} text-anchor="end">
            {clock(last.event.t, { millis: true })}
          </text>
        )}
        {placed.breaks.map((each) => (
          <g key={each.x}>
            <line class="break" x1={lead + each.x - 8} x2={lead + each.x - 8} y1={TOP} y2={height - 6} />
            <line class="break" x1={lead + each.x + 8} x2={lead + each.x + 8} y1={TOP} y2={height - 6} />
            <text class="when" x={lead + each.x} y={height - 1} text-anchor="middle">
              {span(each.seconds)}
            </text>
          </g>
        ))}
        {events.slice(1).map((each, index) => {
          const [from, to] = [events[index]!.event, each.event];
          return (
            <path
              key={each.event.id}
              class="hop"
              d={`M${lead + placed.xs[index]!},${y(from.by || "?")} H${lead + placed.xs[index + 1]! - 6} V${y(to.by || "?")}`}
            />
          );
        })}
        {missing.map((each) => {
          const index = at.get(each.after);
          const x = lead + (index === undefined ? placed.width : placed.xs[index]!);
          const from = index === undefined ? y(each.by) : y(events[index]!.event.by || "?");
          const end = lead + placed.width + BESIDE;
          return (
            <g key={`${each.after} ${each.by}`} class={each.late ? "missing late" : "missing"}>
              <path d={`M${x},${from} V${y(each.by)} H${end - 8}`} />
              <text x={end} y={y(each.by) + 5}>
                {each.late ? "✖" : "…"} {span(each.waiting_seconds)}
              </text>
            </g>
          );
        })}
        {events.map((each, index) => (
          <g
            key={each.event.id}
            class={`mark${each.event.id === chosen ? " chosen" : ""}${each.event.refused ? " refused" : ""}`}
            role="button"
            tabIndex={0}
            aria-label={`${subject(each.event.subject)} at ${clock(each.event.t, { millis: true })}`}
            onClick={() => onOpen(each.event.id)}
            onKeyDown={(event) => {
              if (event.key === "Enter") onOpen(each.event.id);
            }}
          >
            <title>{`${subject(each.event.subject)}\n${each.event.summary}`}</title>
            <circle cx={lead + placed.xs[index]!} cy={y(each.event.by || "?")} r={5} />
          </g>
        ))}
      </svg>
      </div>
    </div>
  );
}
