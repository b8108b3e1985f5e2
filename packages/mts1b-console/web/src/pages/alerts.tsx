// Alerts in force, each with what it means and what to do first; then what was.
import { useSignal } from "@preact/signals";
import { act, newRequest } from "../base/act";
import { plural } from "../base/format";
import { useKeys } from "../base/keys";
import { may } from "../base/me";
import { go, param, set } from "../base/route";
import { causeOf, runbooks } from "../base/runbooks";
import { useSource } from "../base/source";
import { both, parse, span } from "../base/time";
import type { Alert, Alerts } from "../shapes";
import { Age, announce, Command, Data, For, Name, Nothing, Trouble, Troubles, Waiting, When } from "../parts/bits";
import { type Column, Table } from "../parts/table";

const value = (figure: number, unit: string): string => {
  if (figure >= 1e9) return "not at all";
  if (unit === "s" || unit === "seconds") return span(figure);
  if (unit === "share" || unit === "") return `${Math.round(figure * 100)} %`;
  return `${Number(figure.toFixed(2))} ${unit}`.trim();
};

const severity = (alert: Alert) => (
  <span class={`${alert.severity} strong`}>
    {alert.severity === "critical" ? "✖" : "▲"} {alert.severity}
  </span>
);

const lookedAfter = (alert: Alert) =>
  alert.acknowledged ? (
    <span title={`${alert.acknowledged.note}\n${both(alert.acknowledged.at)}`}>
      <Data>{alert.acknowledged.actor}</Data>
    </span>
  ) : (
    <span class="warning">nobody</span>
  );

/** What kind it is; on a telephone also how bad. */
const what = (alert: Alert) => (
  <>
    <span class={`narrow ${alert.severity}`}>
      <span aria-hidden="true">{alert.severity === "critical" ? "✖" : "▲"}</span> <span class="unseen">{alert.severity}</span>
    </span>
    <b>{alert.name.replaceAll("_", " ")}</b>
  </>
);

export function AlertsPage() {
  const source = useSource<Alerts>("/api/alerts", 2000);
  const found = source.data.value;
  const alerts = found?.alerts ?? null;
  const open = param("open");
  const one = alerts?.find((alert) => alert.alert_id === open) ?? alerts?.[0];
  const columns: Column<Alert>[] = [
    { id: "severity", head: "severity", cell: severity, sort: (row) => row.severity, aside: true },
    {
      id: "name",
      head: "what",
      cell: (row) => (
        <>
          {what(row)} <span class="narrow line">{lookedAfter(row)}</span>
        </>
      ),
      sort: (row) => row.name,
      class: "wraps",
    },
    { id: "target", head: "of", cell: (row) => <Name>{row.target}</Name>, sort: (row) => row.target, class: "wraps" },
    {
      id: "value",
      head: "is",
      num: true,
      cell: (row) => (
        <>
          {value(row.value, row.unit)} <span class="narrow line dim">of {value(row.threshold, row.unit)}</span>
        </>
      ),
    },
    { id: "threshold", head: "limit", num: true, cell: (row) => value(row.threshold, row.unit), aside: true },
    { id: "summary", head: "in words", cell: (row) => <Data>{row.summary}</Data>, class: "rest", aside: true },
    { id: "who", head: "looked after by", cell: lookedAfter, sort: (row) => row.acknowledged?.actor ?? null, aside: true },
    { id: "age", head: "for", num: true, cell: (row) => <For t={row.raised_at} />, sort: (row) => row.raised_at },
  ];
  const past: Column<Alert>[] = [
    ...columns.filter((column) => ["severity", "name", "target"].includes(column.id)).map((column) => (column.id === "name" ? { ...column, cell: what } : column)),
    { id: "summary", head: "in words", cell: (row) => <Data>{row.summary}</Data>, class: "rest", aside: true },
    { id: "raised", head: "raised", cell: (row) => <When t={row.raised_at} />, sort: (row) => row.raised_at },
    { id: "cleared", head: "cleared", cell: (row) => <When t={row.cleared_at} />, sort: (row) => row.cleared_at, aside: true },
    { id: "lasted", head: "lasted", num: true, cell: (row) => span((parse(row.cleared_at) - parse(row.raised_at)) / 1000) },
  ];
  return (
    <>
      <div class="title">
        <h1>Alerts</h1>
        {alerts && <span>{plural(alerts.length, "alert")} in force</span>}
        <Age of={source} />
      </div>
      <Troubles of={source} />
      <Waiting of={source} />
      {found?.watched === false && (
        <div class="trouble">
          <strong>Nobody watches.</strong> The monitor has said nothing for two minutes: that there is no alert says nothing.
          <Command text="mts1b monitor" />
        </div>
      )}
      {alerts && alerts.length === 0 && (
        <div class="panel">
          <Nothing title={found?.watched === false ? "No alert is known." : "No alert is in force."}>What is watched: lag, dead letters, limits, missing streams and durables, certificates, storing.</Nothing>
        </div>
      )}
      {alerts && alerts.length > 0 && (
        <div class="panel">
          <Table main label="alerts in force" rows={alerts} columns={columns} id={(row) => row.alert_id} chosen={one?.alert_id ?? ""} onOpen={(row) => (row.alert_id === open ? go(causeOf(row)) : set({ open: row.alert_id }))} onMove={(row) => set({ open: row.alert_id })} />
        </div>
      )}
      {one && <Runbook key={one.alert_id} alert={one} onChange={() => void source.again()} />}
      {found?.past && found.past.length > 0 && (
        <section class="panel" aria-labelledby="past">
          <header>
            <h2 id="past">Cleared within 30 days</h2>
          </header>
          <Table label="cleared alerts" rows={found.past} columns={past} id={(row) => `${row.alert_id} ${row.cleared_at}`} sortParam="past" />
        </section>
      )}
      {found && found.past === null && !found.unknown && <p class="dim">Alerts of the past are not for your role.</p>}
    </>
  );
}

/** Saying that one looks after it: no risk, so no typing; the note is for whoever comes next. */
function Acknowledge({ alert, onChange }: { alert: Alert; onChange: () => void }) {
  const note = useSignal("");
  const trouble = useSignal<Error | null>(null);
  const busy = useSignal(false);
  const submit = async (event: Event): Promise<void> => {
    event.preventDefault();
    if (busy.value) return;
    busy.value = true;
    trouble.value = null;
    try {
      await act("alerts/acknowledge", { alert_id: alert.alert_id, note: note.value.trim() || null, request_id: newRequest() });
      note.value = "";
      announce("acknowledged");
      onChange();
    } catch (error) {
      trouble.value = error as Error;
    } finally {
      busy.value = false;
    }
  };
  const { acknowledged } = alert;
  return (
    <>
      {acknowledged ? (
        <p>
          <span class="good">✓</span> <Data>{acknowledged.actor}</Data> looks after it since <When t={acknowledged.at} />
          {acknowledged.note && (
            <>
              : <Data>{acknowledged.note}</Data>
            </>
          )}
        </p>
      ) : (
        <p class="warning strong">Nobody has said that they look after it.</p>
      )}
      {may("alerts.acknowledge") && (
        <form class="bar" onSubmit={(event) => void submit(event)}>
          <label class="wide field">
            <span class="unseen">what is known or being done</span>
            <input
              id="note"
              type="text"
              maxLength={500}
              placeholder="what is known or being done (may be left out)"
              value={note.value}
              onInput={(event) => (note.value = event.currentTarget.value)}
            />
          </label>
          <button type="submit" class={acknowledged ? "" : "main"} aria-busy={busy.value}>
            {acknowledged ? "I look after it now" : "I look after it"} <kbd>w</kbd>
          </button>
        </form>
      )}
      <Trouble problem={trouble.value} />
    </>
  );
}

function Runbook({ alert, onChange }: { alert: Alert; onChange: () => void }) {
  useKeys([{ keys: "w", words: "say that you look after it", run: () => document.getElementById("note")?.focus() }]);
  const book = runbooks[alert.name];
  const cause = causeOf(alert);
  return (
    <section class="panel" aria-labelledby="runbook">
      <header>
        <h2 id="runbook">
          {severity(alert)} {book?.title ?? alert.name}: <Data>{alert.target}</Data>
        </h2>
        {!cause.startsWith("/alerts") && (
          <a class="right" href={cause}>
            its cause <kbd>Enter</kbd>
          </a>
        )}
      </header>
      <div class="body">
        <p>
          <Data>{alert.summary}</Data>
        </p>
        <Acknowledge alert={alert} onChange={onChange} />
        {book ? (
          <>
            <p class="dim">{book.means}</p>
            <ol>
              {book.first.map((each) => (
                <li key={each}>{each}</li>
              ))}
            </ol>
            <div class="commands">
              {book.commands(alert.target).map((each) => (
                <Command key={each} text={each} />
              ))}
            </div>
          </>
        ) : (
          <p>There is no runbook for {alert.name}.</p>
        )}
      </div>
    </section>
  );
}
