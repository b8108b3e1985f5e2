// Lines over time. The same figures stand in a table for whoever does not see the lines.
import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import { theme } from "../base/theme";
import { clock, zone } from "../base/time";

export interface Line {
  name: string;
  values: (number | null)[];
}

export interface ChartProps {
  label: string;
  /** Seconds since 1970, ascending. */
  times: number[];
  lines: Line[];
  height?: number;
  format: (value: number) => string;
}

/** Apart in the dark, in the light, and for eyes that do not tell red from green; the dashes differ as well. */
const STROKES: { colour: string; dash: number[] }[] = [
  { colour: "--accent", dash: [] },
  { colour: "--warning", dash: [6, 3] },
  { colour: "--good", dash: [2, 3] },
  { colour: "--critical", dash: [8, 3, 2, 3] },
  { colour: "--text", dash: [1, 2] },
];

const colour = (name: string): string => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** A tick of the time axis: as much of the time as the step needs. */
function tickWords(at: number, step: number): string {
  const said = clock(at * 1000, { date: "always" });
  return step >= 86_400 ? said.slice(5, 10) : step >= 60 ? said.slice(11, 16) : said.slice(11, 19);
}

export function Chart({ label, times, lines, height = 220, format }: ChartProps) {
  const box = useRef<HTMLDivElement>(null);
  const chart = useRef<uPlot | null>(null);
  const names = lines.map((line) => line.name).join("\n");
  const style = `${theme.value} ${zone.value} ${names} ${height}`;
  useEffect(() => {
    const element = box.current!;
    const axis = { stroke: colour("--dim"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line"), width: 1 }, font: "12px system-ui, sans-serif" };
    const made = new uPlot(
      {
        width: element.clientWidth || 600,
        height,
        tzDate: (seconds) => (zone.value === "utc" ? uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC") : new Date(seconds * 1000)),
        legend: { live: true },
        cursor: { points: { size: 6 } },
        axes: [{ ...axis, values: (_, ticks, __, ___, step) => ticks.map((at) => tickWords(at, step)) }, { ...axis, size: 92, values: (_, ticks) => ticks.map(format) }],
        series: [
          { label: zone.value === "utc" ? "time, UTC" : "time, local", value: (_, seconds) => (seconds === null ? "–" : clock(seconds * 1000, { date: "always" })) },
          ...lines.map((line, at) => {
            const stroke = STROKES[at % STROKES.length]!;
            return {
              label: line.name,
              stroke: colour(stroke.colour),
              dash: stroke.dash,
              width: 1.5,
              spanGaps: true,
              value: (_: uPlot, value: number | null) => (value === null ? "–" : format(value)),
            };
          }),
        ],
      },
      [times, ...lines.map((line) => line.values)],
      element,
    );
    chart.current = made;
    const watch = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height }));
    watch.observe(element);
    return () => {
      watch.disconnect();
      made.destroy();
      chart.current = null;
    };
  }, [style]);
  useEffect(() => {
    chart.current?.setData([times, ...lines.map((line) => line.values)]);
  }, [times, lines]);
  return <div ref={box} class="chart" role="img" aria-label={label} />;
}
