// What needs somebody first; then trading; then services and streams.
import { useSignal } from "@preact/signals";
import { useKeys } from "../base/keys";
import { count, percent, plural, rate, service } from "../base/format";
import { go } from "../base/route";
import { causeOf } from "../base/runbooks";
import { useSource } from "../base/source";
import { ago, span } from "../base/time";
import type { Alert, Halt, LetterGroup, Now, OrderRow, Service, Stream, Streams } from "../shapes";
import { Age, Ago, Data, isDenied, Meter, Nothing, Spark, Trouble, Waiting, When } from "../parts/bits";
import { Table } from "../parts/table";


interface Need {
  id: string;
  mark: string;
  severity: "critical" | "warning";
  kind: string;
  target: string;
  words: string;
  since: string;
  href: string;
}

/** What needs somebody, the worst first. */
function needs(now: Now): Need[] {
  const halts = (now.halts.halts ?? []).filter((halt) => halt.silent.length > 0).map(silent);
  const alerts = (now.alerts.alerts ?? []).map(alerted);
  const covered = new Set(alerts.map((need) => need.href));
  const letters = covered.has("/deadletters") ? [] : (now.deadletters.groups ?? []).map(given);
  const slow = (now.orders.orders ?? []).filter((row) => (row.waiting_seconds ?? 0) >= 10).slice(0, 5).map(stuck);
  const away = (now.services.services ?? []).filter((each) => each.reading === false && (each.messages ?? 0) > 0).map(owes);
  const all = [...halts, ...alerts, ...away.filter((need) => !alerts.some((alert) => need.target && alert.target.endsWith(need.target))), ...slow, ...letters];
  return all.sort((one, other) => Number(other.severity === "critical") - Number(one.severity === "critical"));
}

const silent = (halt: Halt): Need => ({
  id: halt.halt_id,
  mark: "✖",
  severity: "critical",
  kind: "halt not obeyed",
  target: halt.fund ?? "every fund",
  words: `${halt.silent.map(service).join(", ")} ${halt.silent.length === 1 ? "has" : "have"} not said so`,
  since: halt.stored_at,
  href: `/halts?open=${encodeURIComponent(halt.halt_id)}`,
});

const alerted = (alert: Alert): Need => ({
  id: alert.alert_id,
  mark: alert.severity === "critical" ? "✖" : "▲",
  severity: alert.severity,
  kind: alert.name.replaceAll("_", " "),
  target: alert.target,
  words: alert.acknowledged ? `${alert.summary} · ${alert.acknowledged.actor} looks after it` : alert.summary,
  since: alert.raised_at,
  href: causeOf(alert),
});

const given = (group: LetterGroup): Need => ({
  id: `letters ${group.key}`,
  mark: "▲",
  severity: "warning",
  kind: "dead letters",
  target: group.consumer,
  words: `${count(group.count)}: ${group.reason.replaceAll("_", " ")}, ${group.error}`,
  since: group.first,
  href: `/deadletters?group=${encodeURIComponent(group.key)}`,
});

const stuck = (row: OrderRow): Need => ({
  id: row.facts.order_id,
  mark: "▲",
  severity: "warning",
  kind: "order waits",
  target: row.facts.order_id,
  words: `${row.facts.status} for ${span(row.waiting_seconds)}: ${row.facts.side} ${row.facts.quantity} ${row.facts.symbol}, ${row.facts.fund}`,
  since: row.last,
  href: `/order/${encodeURIComponent(row.facts.order_id)}`,
});

const owes = (each: Service): Need => ({
  id: `away ${each.name}`,
  mark: "✖",
  severity: "critical",
  kind: "nobody reads",
  target: each.away[0] ?? each.name,
  words: `${service(each.name)} is away: ${plural(each.messages ?? 0, "event")} wait, ${span(each.lag_seconds)} behind`,
  since: each.last_event ?? "",
  href: `/services?open=${encodeURIComponent(each.name)}`,
});

export function NowPage() {
  const source = useSource<Now>("/api/now", 2000);
  const now = source.data.value;
  if (!now) return <Waiting of={source} />;
  return (
    <>
      <div class="title">
        <h1>Now</h1>
        <Age of={source} part={oldest(now)} />
      </div>
      <Needs now={now} />
      <Trading now={now} />
      <div class="columns">
        <Services now={now} />
        <StreamsNow now={now} />
      </div>
    </>
  );
}

/** The part that was read longest ago: no figure of the page is older. */
function oldest(now: Now) {
  return Object.values(now).reduce((one, other) => (other.read_at < one.read_at ? other : one));
}

function Needs({ now }: { now: Now }) {
  const found = needs(now);
  const at = useSignal(0);
  const chosen = Math.min(at.value, found.length - 1);
  useKeys([
    { keys: "j", words: "next thing", group: "Lists", run: () => (at.value = Math.min(found.length - 1, chosen + 1)) },
    { keys: "k", words: "thing before", group: "Lists", run: () => (at.value = Math.max(0, chosen - 1)) },
    { keys: "Enter", words: "open its cause", group: "Lists", run: () => found[chosen] && go(found[chosen].href) },
  ]);
  const parts = { alerts: now.alerts, halts: now.halts, "dead letters": now.deadletters, orders: now.orders };
  const denied = Object.entries(parts).flatMap(([name, part]) => (isDenied(part.unknown) ? [name] : []));
  const unknown = Object.values(parts).filter((part) => part.unknown && !isDenied(part.unknown));
  return (
    <section class={found.length ? "panel needs" : "panel"} aria-labelledby="needs">
      <header>
        <h2 id="needs">
          {found.length === 0
            ? unknown.length
              ? "Whether something needs you is not known"
              : denied.length
                ? "Nothing that your role sees needs you"
              : now.alerts.watched === false
                ? "Nothing is known to need you"
                : "Nothing needs you"
            : `${plural(found.length, "thing")} ${found.length === 1 ? "needs" : "need"} you`}
        </h2>
        {found.length > 0 && (
          <span class="dim right keyhint">
            <kbd>j</kbd> <kbd>k</kbd> <kbd>Enter</kbd>
          </span>
        )}
      </header>
      {unknown.map((part) => (
        <Trouble key={part.unknown!.message} problem={part.unknown} />
      ))}
      {denied.length > 0 && (
        <p class="denied">
          <strong>Not for your role:</strong> {denied.join(", ")}. <a href="/permissions">What it may see</a>
        </p>
      )}
      {now.alerts.watched === false && (
        <p class="nothing">
          <strong class="warning">Nobody watches:</strong> the monitor has said nothing for two minutes, so no alert is no news. <code>mts1b monitor</code> starts it.
        </p>
      )}
      {found.length === 0 && unknown.length === 0 && denied.length === 0 && now.alerts.watched !== false && (
        <p class="nothing">No alert, no halt that somebody has not obeyed, no order that waits, no dead letter.</p>
      )}
      <ul class="needlist">
        {found.map((need, index) => (
          <li key={need.id}>
            <a href={need.href} class={index === chosen ? "chosen" : ""} onFocus={() => (at.value = index)}>
              <span class={`mark ${need.severity}`} aria-hidden="true">
                {need.mark}
              </span>
              <span class={`severity ${need.severity}`}>{need.severity}</span>
              <b class="kind">{need.kind}</b>
              <span class="target cut">
                <Data>{need.target}</Data>
              </span>
              <span class="words">
                <Data>{need.words}</Data>
              </span>
              <span class="since dim">
                since <When t={need.since} />
              </span>
            </a>
          </li>
        ))}
      </ul>
    </section>
  );
}

function Trading({ now }: { now: Now }) {
  const { halts, orders } = now;
  const inForce = halts.halts;
  const late = orders.slow;
  remember(now.streams);
  return (
    <section class="panel" aria-label="trading">
      <dl class="facts body">
        <dt>Trading</dt>
        <dd>
          {inForce === null ? (
            <b class="warning">not known</b>
          ) : inForce.length === 0 ? (
            <>
              <b class="good">running</b> · no halt in force
            </>
          ) : (
            <>
              <b class="critical">halted</b>:{" "}
              {inForce.map((halt) => (
                <a key={halt.halt_id} href={`/halts?open=${encodeURIComponent(halt.halt_id)}`}>
                  {halt.fund ?? "every fund"} by {halt.actor}, {ago(halt.stored_at)}{" "}
                </a>
              ))}
            </>
          )}
        </dd>
        <dt>Orders</dt>
        <dd>
          <a href="/orders?state=open">{count(orders.open)} open</a>
          {" · "}
          <a href="/orders?state=slow" class={late ? "warning strong" : ""}>
            {count(late)} waiting 10 s or longer
          </a>
          {" · "}
          <a href="/orders?state=rejected">{count(orders.rejected_hour)} rejected within the hour</a>
        </dd>
        <dt>Events</dt>
        <dd>
          {storedRate(now.streams.streams)} stored a second {rates.length > 1 && <Spark points={rates} words="events stored a second while this page was open" />}
        </dd>
      </dl>
    </section>
  );
}

/** Events stored a second, since the page was opened. */
const rates: number[] = [];
let ratesRead = "";

function remember(streams: Streams): void {
  if (streams.read_at === ratesRead || !streams.streams) return;
  ratesRead = streams.read_at;
  rates.push(streams.streams.reduce((sum, stream) => sum + (stream.per_second ?? 0), 0));
  if (rates.length > 150) rates.shift();
}

function storedRate(streams: Stream[] | null): string {
  if (!streams) return "?";
  const known = streams.filter((stream) => stream.per_second !== null);
  return known.length ? rate(known.reduce((sum, stream) => sum + stream.per_second!, 0)) : "?";
}

function Services({ now }: { now: Now }) {
  const rows = now.services.services;
  return (
    <section class="panel">
      <header>
        <h2>
          <a href="/services">Services</a>
        </h2>
      </header>
      <Trouble problem={now.services.unknown} />
      {rows && (
        <Table
          label="services"
          sortParam="by_service"
          rows={rows}
          id={(row) => row.name}
          columns={[
            { id: "name", head: "service", cell: (row) => <a href={`/services?open=${encodeURIComponent(row.name)}`}>{service(row.name)}</a>, sort: (row) => row.name },
            { id: "reads", head: "reads", title: "whether somebody is there to read each of its durables", cell: reading },
            { id: "rate", head: "stored/s", num: true, cell: (row) => (row.per_second === null ? "–" : rate(row.per_second)), sort: (row) => row.per_second },
            {
              id: "lag",
              head: "behind",
              num: true,
              cell: (row) => (
                <span class={(row.lag_seconds ?? 0) > 30 ? "critical strong" : ""}>{row.lag_seconds === null ? "–" : row.lag_seconds === 0 ? "0 s" : span(row.lag_seconds)}</span>
              ),
              sort: (row) => row.lag_seconds,
            },
            { id: "last", head: "last stored", num: true, cell: (row) => (row.last_event ? <Ago t={row.last_event} /> : <span class="dim">–</span>), sort: (row) => row.last_event },
          ]}
        />
      )}
    </section>
  );
}

function reading(row: Service) {
  if (row.reading === null) return <span class="dim">reads nothing</span>;
  if (row.reading) return <span class="good">● {row.reads > 1 ? `all ${row.reads}` : "yes"}</span>;
  return (
    <span class={row.messages ? "critical strong" : "dim"}>
      ○ {row.away.length} of {row.reads} away{row.messages ? "" : ", nothing waits"}
    </span>
  );
}

function StreamsNow({ now }: { now: Now }) {
  const rows = now.streams.streams;
  return (
    <section class="panel">
      <header>
        <h2>
          <a href="/streams">Streams</a>
        </h2>
      </header>
      <Trouble problem={now.streams.unknown} />
      {rows && rows.length === 0 && (
        <Nothing title="The server has no stream.">
          <code>mts1b streams apply</code> makes those that are declared.
        </Nothing>
      )}
      {rows && rows.length > 0 && (
        <Table
          label="streams"
          sortParam="by_stream"
          rows={rows}
          id={(row) => row.name}
          columns={[
            { id: "name", head: "stream", cell: (row) => <a href={`/streams/${row.name}`}>{row.name}</a>, sort: (row) => row.name },
            { id: "rate", head: "stored/s", num: true, cell: (row) => rate(row.per_second), sort: (row) => row.per_second },
            { id: "unread", head: "unread", num: true, title: "most that one of its consumers has not read", cell: (row) => (row.unread === null ? "–" : count(row.unread)), sort: (row) => row.unread },
            { id: "full", head: "full", num: true, cell: (row) => <Full stream={row} />, sort: (row) => row.full },
            { id: "discards", head: "discards in", title: "until something is discarded that somebody has not read", num: true, cell: (row) => <Discards stream={row} />, sort: (row) => soonest(row) },
          ]}
        />
      )}
    </section>
  );
}

export const Full = ({ stream }: { stream: Stream }) => (
  <>
    {percent(stream.full)} <Meter share={stream.full} words={`${percent(stream.full)} of its nearest limit is used`} />
  </>
);

/** Seconds until the stream discards what somebody has not read; null when nothing of that is in sight. */
export function soonest(stream: Stream): number | null {
  const times = stream.risks.flatMap((risk) => (risk.risk >= 1 ? [0] : risk.seconds_left === null ? [] : [risk.seconds_left]));
  return times.length ? Math.min(...times) : null;
}

export function Discards({ stream }: { stream: Stream }) {
  const seconds = soonest(stream);
  if (seconds === null) return <span class="dim">–</span>;
  if (seconds === 0) return <span class="critical strong">✖ now</span>;
  const kind = seconds < 3600 ? "critical strong" : seconds < 86_400 ? "warning strong" : "";
  return <span class={kind || "dim"}>{seconds > 30 * 86_400 ? "> 30 d" : span(seconds)}</span>;
}

