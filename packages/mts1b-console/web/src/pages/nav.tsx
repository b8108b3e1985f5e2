// Net asset value of each fund over time, as the treasury valued it.
import { useMemo } from "preact/hooks";
import { decimal } from "../base/format";
import { param, set } from "../base/route";
import { useSource } from "../base/source";
import { parse } from "../base/time";
import type { Nav, NavPoint } from "../shapes";
import { Age, Ago, Choices, Data, Nothing, Troubles, Waiting, When } from "../parts/bits";
import { Chart, type Line } from "../parts/chart";
import { Table } from "../parts/table";

interface Fund {
  fund: string;
  points: NavPoint[];
  last: NavPoint;
  first: NavPoint;
  /** Deepest fall from a top, as a share. */
  drawdown: number;
}

type How = "value" | "change";

export function NavPage() {
  const source = useSource<Nav>("/api/nav", 5000);
  const points = source.data.value?.points ?? null;
  const how = (param("as") === "change" ? "change" : "value") as How;
  const funds = useMemo(() => byFund(points ?? []), [points]);
  const chart = useMemo(() => lines(funds, how), [funds, how]);
  return (
    <>
      <div class="title">
        <h1>Net asset value</h1>
        <Age of={source} />
        <span class="right">
          <Choices
            label="drawn as"
            value={how}
            choices={[
              { value: "value", label: "value" },
              { value: "change", label: "change in %", title: "since the first valuation shown" },
            ]}
            onChoose={(value) => set({ as: value === "value" ? null : value })}
          />
        </span>
      </div>
      <Troubles of={source} />
      <Waiting of={source} />
      {points && points.length === 0 && (
        <div class="panel">
          <Nothing title="No valuation is stored.">The treasury values a fund when its fills or prices change.</Nothing>
        </div>
      )}
      {funds.length > 0 && (
        <>
          <div class="panel body">
            <Chart
              label={`net asset value of ${funds.map((each) => each.fund).join(", ")}; the figures are in the table below`}
              times={chart.times}
              lines={chart.lines}
              height={300}
              format={(value) => (how === "change" ? `${value.toFixed(2)} %` : value.toLocaleString("en-US", { maximumFractionDigits: 2 }))}
            />
          </div>
          <Table
            label="funds"
            rows={funds}
            id={(row) => row.fund}
            columns={[
              { id: "fund", head: "fund", cell: (row) => <a href={`/orders?fund=${encodeURIComponent(row.fund)}`}><Data>{row.fund}</Data></a>, sort: (row) => row.fund },
              { id: "value", head: "value", num: true, cell: (row) => <b>{decimal(row.last.equity)}</b>, sort: (row) => Number(row.last.equity) },
              { id: "first", head: "first shown", num: true, cell: (row) => decimal(row.first.equity) },
              { id: "change", head: "change", num: true, cell: (row) => <Change fund={row} />, sort: change },
              { id: "drawdown", head: "deepest fall", num: true, cell: (row) => `${(row.drawdown * 100).toFixed(2)} %`, sort: (row) => row.drawdown },
              { id: "points", head: "valuations", num: true, cell: (row) => row.points.length, sort: (row) => row.points.length },
              { id: "at", head: "valued", cell: (row) => <When t={row.last.t} />, sort: (row) => row.last.t },
              { id: "age", head: "", title: "age", num: true, cell: (row) => <Ago t={row.last.t} /> },
            ]}
          />
        </>
      )}
    </>
  );
}

const change = (fund: Fund): number => (Number(fund.first.equity) ? (Number(fund.last.equity) / Number(fund.first.equity) - 1) * 100 : 0);

function Change({ fund }: { fund: Fund }) {
  const value = change(fund);
  return (
    <span class={value < 0 ? "critical" : ""}>
      {value > 0 ? "+" : value < 0 ? "−" : ""}
      {Math.abs(value).toFixed(3)} %
    </span>
  );
}

function byFund(points: NavPoint[]): Fund[] {
  const groups = new Map<string, NavPoint[]>();
  for (const point of points) {
    const group = groups.get(point.fund);
    if (group) group.push(point);
    else groups.set(point.fund, [point]);
  }
  return [...groups].map(([fund, mine]) => {
    let top = -Infinity;
    let drawdown = 0;
    for (const point of mine) {
      const value = Number(point.equity);
      top = Math.max(top, value);
      if (top > 0) drawdown = Math.max(drawdown, 1 - value / top);
    }
    return { fund, points: mine, first: mine[0]!, last: mine[mine.length - 1]!, drawdown };
  });
}

function lines(funds: Fund[], how: How): { times: number[]; lines: Line[] } {
  const times = [...new Set(funds.flatMap((fund) => fund.points.map((point) => parse(point.t) / 1000)))].sort((one, other) => one - other);
  const index = new Map(times.map((time, at) => [time, at]));
  return {
    times,
    lines: funds.map((fund) => {
      const values = new Array<number | null>(times.length).fill(null);
      const base = Number(fund.first.equity);
      for (const point of fund.points) {
        const value = Number(point.equity);
        values[index.get(parse(point.t) / 1000)!] = how === "value" || !base ? value : (value / base - 1) * 100;
      }
      return { name: fund.fund, values };
    }),
  };
}
