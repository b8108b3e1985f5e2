// The columns of events in a list.
import { bytes, service, subject } from "../base/format";
import type { EventRow } from "../shapes";
import { Data, When } from "./bits";
import type { Column } from "./table";

export const eventColumns: Column<EventRow>[] = [
  { id: "time", head: "time", cell: (row) => <When t={row.t} millis />, sort: (row) => row.t },
  {
    id: "subject",
    head: "subject",
    cell: (row) => (
      <span class={row.refused ? "critical" : ""} title={row.subject}>
        {row.refused && "✖ "}
        <Data>{subject(row.subject)}</Data>
      </span>
    ),
    sort: (row) => row.subject,
  },
  { id: "summary", head: "what it says", cell: (row) => <span title={row.summary.slice(0, 500)}><Data>{row.summary}</Data></span>, class: "rest" },
  { id: "fund", head: "fund", cell: (row) => <Data>{row.fund}</Data>, sort: (row) => row.fund, wide: true },
  { id: "by", head: "by", cell: (row) => <Data>{service(row.by)}</Data>, sort: (row) => row.by, wide: true },
  { id: "place", head: "stream:seq", cell: (row) => <span class="mono">{row.id}</span>, wide: true },
  { id: "size", head: "size", num: true, cell: (row) => bytes(row.size), sort: (row) => row.size, wide: true },
];
