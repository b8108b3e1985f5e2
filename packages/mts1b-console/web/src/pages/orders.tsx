// The blotter: one row an order, its latest state, and how long it has been in it.
import { count, decimal, plural, shortened } from "../base/format";
import { useKeys } from "../base/keys";
import { address, go, param, set } from "../base/route";
import { useSource } from "../base/source";
import { span } from "../base/time";
import type { OrderRow, Orders } from "../shapes";
import { Age, Choices, Data, Nothing, Troubles, Waiting, When } from "../parts/bits";
import { Filter, kept } from "../parts/filter";
import { type Column, Table } from "../parts/table";
import { Views } from "../parts/views";

const SLOW = 10;

type State = "all" | "open" | "slow" | "rejected" | "filled" | "canceled";

const tests: Record<State, (row: OrderRow) => boolean> = {
  all: () => true,
  open: (row) => !row.facts.is_final,
  slow: (row) => (row.waiting_seconds ?? 0) >= SLOW,
  rejected: (row) => row.facts.status === "rejected",
  filled: (row) => row.facts.status === "filled",
  canceled: (row) => row.facts.status.startsWith("cancel"),
};

export function OrdersPage() {
  const source = useSource<Orders>("/api/orders", 2000);
  const found = source.data.value;
  const rows = found?.orders ?? null;
  const [q, fund] = [param("q"), param("fund")];
  const state = (param("state") in tests ? param("state") : "all") as State;
  const funds = [...new Set((rows ?? []).map((row) => row.facts.fund))].sort();
  const mine = (rows ?? []).filter((row) => !fund || row.facts.fund === fund);
  const shown = kept(mine.filter(tests[state]), q, (row) => Object.values(row.facts).join(" "));
  const columns: Column<OrderRow>[] = [
    { id: "last", head: "changed", cell: (row) => <When t={row.last} millis />, sort: (row) => row.last },
    { id: "status", head: "state", cell: (row) => <Status row={row} />, sort: (row) => row.facts.status },
    { id: "waiting", head: "for", num: true, title: "in this state; nothing for what is final", cell: (row) => <span class={tests.slow(row) ? "warning strong" : ""}>{row.waiting_seconds === null ? "" : span(row.waiting_seconds)}</span>, sort: (row) => row.waiting_seconds },
    { id: "side", head: "side", cell: (row) => row.facts.side.toUpperCase(), sort: (row) => row.facts.side },
    { id: "quantity", head: "quantity", num: true, cell: (row) => <span class="data">{decimal(row.facts.quantity)}</span>, sort: (row) => Number(row.facts.quantity) },
    { id: "filled", head: "filled", num: true, cell: (row) => <span class="data">{decimal(row.facts.filled)}</span>, sort: (row) => Number(row.facts.filled) },
    { id: "symbol", head: "symbol", cell: (row) => <Data>{row.facts.symbol}</Data>, sort: (row) => row.facts.symbol },
    { id: "fund", head: "fund", cell: (row) => <Data>{row.facts.fund}</Data>, sort: (row) => row.facts.fund },
    { id: "actor", head: "actor", cell: (row) => <Data>{row.facts.actor}</Data>, sort: (row) => row.facts.actor },
    { id: "kind", head: "kind", cell: (row) => <Data>{row.facts.kind}</Data>, sort: (row) => row.facts.kind },
    { id: "broker", head: "broker", cell: (row) => <Data>{row.facts.broker}</Data>, sort: (row) => row.facts.broker },
    { id: "why", head: "why", cell: (row) => (row.facts.why ? <span title={row.facts.why.slice(0, 500)}><Data>{row.facts.why}</Data></span> : ""), class: "rest", sort: (row) => row.facts.why },
    { id: "order", head: "order", cell: (row) => <a class="mono rowlink" href={`/order/${encodeURIComponent(row.facts.order_id)}`} title={row.facts.order_id}>{shortened(row.facts.order_id, 26)}</a>, sort: (row) => row.facts.order_id },
  ];
  useKeys([{ keys: "e", words: "export the orders", run: () => document.getElementById("export-orders")?.click() }]);
  return (
    <>
      <div class="title">
        <h1>Orders</h1>
        {found && (
          <span>
            {count(found.open)} open · <span class={found.slow ? "warning strong" : ""}>{count(found.slow)} slow</span> · {count(found.rejected_hour)} rejected within the hour
          </span>
        )}
        <Age of={source} />
        {found?.since && (
          <span class="dim">
            read back to <When t={found.since} />; <a href={address("/events", { q: "subject:mts.*.oms.orders.>", to: found.since })}>older ones</a>
          </span>
        )}
      </div>
      <div class="bar">
        <Choices
          label="state"
          value={state}
          choices={(Object.keys(tests) as State[]).map((each) => ({ value: each, label: `${each}${rows ? ` ${count(mine.filter(tests[each]).length)}` : ""}`, ...(each === "slow" ? { title: `in their state for ${SLOW} s or longer` } : {}) }))}
          onChoose={(value) => set({ state: value === "all" ? null : value })}
        />
        {funds.length > 1 && (
          <label>
            <span class="unseen">fund</span>
            <select value={fund} onChange={(event) => set({ fund: event.currentTarget.value })}>
              <option value="">every fund</option>
              {funds.map((each) => (
                <option key={each} value={each}>
                  {each}
                </option>
              ))}
            </select>
          </label>
        )}
        <Views page="/orders" />
        <Filter value={q} what="orders" />
        <span class="dim">
          export{" "}
          <a id="export-orders" href={address("/api/export", { q: "subject:mts.v1.oms.orders.>", format: "csv" })} download>
            CSV
          </a>{" "}
          <a href={address("/api/export", { q: "subject:mts.v1.oms.orders.>", format: "parquet" })} download>
            Parquet
          </a>
        </span>
      </div>
      <Troubles of={source} />
      <Waiting of={source} />
      {rows && shown.length === 0 && (
        <div class="panel">
          <Nothing title={rows.length === 0 ? "No order is stored." : "No order is meant by this."}>{rows.length > 0 && <a href="/orders">Show all {plural(rows.length, "order")}</a>}</Nothing>
        </div>
      )}
      {shown.length > 0 && <Table main fill choosable label="orders" rows={shown} columns={columns} id={(row) => row.facts.order_id} onOpen={(row) => go(`/order/${encodeURIComponent(row.facts.order_id)}`)} />}
    </>
  );
}

function Status({ row }: { row: OrderRow }) {
  const { status, is_final } = row.facts;
  const kind = status === "rejected" ? "critical" : status === "filled" ? "good" : is_final ? "dim" : "strong";
  const mark = status === "rejected" ? "✖" : status === "filled" ? "✓" : is_final ? "–" : "…";
  return (
    <span class={kind}>
      {mark} {status.replaceAll("_", " ")}
    </span>
  );
}
