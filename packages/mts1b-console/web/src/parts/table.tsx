// A table of any length: only the rows that can be seen exist. j and k move, Enter opens, the heads sort.
import { useSignal } from "@preact/signals";
import { Component, type ComponentChildren } from "preact";
import { useEffect, useLayoutEffect, useMemo, useRef } from "preact/hooks";
import { type Key, useKeys } from "../base/keys";
import { param, set } from "../base/route";

export interface Column<Row> {
  id: string;
  head: string;
  /** What the head means, when the word does not say it. */
  title?: string;
  cell: (row: Row) => ComponentChildren;
  sort?: (row: Row) => string | number | null;
  num?: boolean;
  class?: string;
  /** Left out while something is open beside the table. */
  wide?: boolean;
  /** Left out on a telephone: the row says it elsewhere, or what opens does. */
  aside?: boolean;
}

export interface TableProps<Row> {
  label: string;
  columns: Column<Row>[];
  rows: readonly Row[];
  id: (row: Row) => string;
  /** The row that is open, by its id. */
  chosen?: string;
  onOpen?: (row: Row) => void;
  onMove?: (row: Row) => void;
  keys?: (row: Row) => Key[];
  /** Whether j, k and Enter go to this table. One of a page has them. */
  main?: boolean;
  /** Fills the height that is left and scrolls by itself. */
  fill?: boolean;
  /** Name of the parameter in the address that holds the order. */
  sortParam?: string;
  rowClass?: (row: Row) => string;
  /** Something is open beside it. */
  narrow?: boolean;
  /** Columns can be left out; the address holds which. */
  choosable?: boolean;
}

const HEIGHT = 27;
const VIRTUAL = 150;
const BEYOND = 6;
/** Rows by which the part that exists is moved, while somebody scrolls. */
const STEP = 4;

export function Table<Row>(props: TableProps<Row>) {
  const { id, sortParam = "sort" } = props;
  const order = param(sortParam);
  const rows = useMemo(() => sorted(props.rows, props.columns, order), [props.rows, order]);
  const left = props.choosable ? leftOut() : [];
  const columns = useMemo(
    () => props.columns.filter((column) => !left.includes(column.id) && !(props.narrow && column.wide)),
    [props.columns, left.join(), props.narrow],
  );
  const box = useRef<HTMLDivElement>(null);
  const grid = useRef<HTMLTableElement>(null);
  /** The first row that is seen, to the step. */
  const top = useSignal(0);
  const tall = useSignal(800);
  const wide = useSignal(0);
  const cursor = useSignal<string | null>(null);
  const virtual = rows.length > VIRTUAL;

  useLayoutEffect(() => {
    if (!virtual || !box.current) return;
    const element = box.current;
    const watch = new ResizeObserver(() => {
      tall.value = element.clientHeight;
      wide.value = element.clientWidth;
    });
    watch.observe(element);
    return () => watch.disconnect();
  }, [virtual]);
  useLayoutEffect(() => void (grid.current && standApart(grid.current, virtual)), [virtual, columns, rows, wide.value]);

  const from = virtual ? Math.max(0, Math.min(top.value, rows.length) - BEYOND) : 0;
  const to = virtual ? Math.min(rows.length, top.value + STEP + Math.ceil(tall.value / HEIGHT) + BEYOND) : rows.length;
  const sought = cursor.value ?? props.chosen;
  const at = useMemo(() => (sought === undefined ? -1 : rows.findIndex((row) => id(row) === sought)), [rows, sought]);
  const current = rows[at];
  const pick = useRef<(row: Row) => void>(() => undefined);
  pick.current = (row) => {
    cursor.value = id(row);
    props.onOpen?.(row);
  };

  const move = (by: number): void => {
    const next = rows[Math.min(rows.length - 1, Math.max(0, at < 0 ? 0 : at + by))];
    if (!next) return;
    cursor.value = id(next);
    props.onMove?.(next);
    reveal(box.current, rows.indexOf(next), virtual);
  };
  const main = props.main ?? false;
  const own: Key[] = main
    ? [
        { keys: "j", words: "next row", group: "Lists", run: () => move(1) },
        { keys: "k", words: "row before", group: "Lists", run: () => move(-1) },
        { keys: "ArrowDown", words: "next row", group: "Lists", run: () => move(1) },
        { keys: "ArrowUp", words: "row before", group: "Lists", run: () => move(-1) },
      ]
    : [];
  if (main && props.onOpen)
    own.push({ keys: "Enter", words: "open the row", group: "Lists", run: () => current !== undefined && props.onOpen?.(current) });
  if (main && current !== undefined && props.keys) own.push(...props.keys(current));
  useKeys(own);
  useEffect(() => {
    cursor.value = null;
  }, [props.chosen]);

  const table = (
    <div
      ref={box}
      class={props.fill ? "scroll fill" : "scroll"}
      tabIndex={0}
      role="region"
      aria-label={props.label}
      onScroll={(event) => {
        if (virtual) top.value = Math.floor(event.currentTarget.scrollTop / HEIGHT / STEP) * STEP;
      }}
    >
      <table ref={grid} class="grid" role="table" aria-rowcount={rows.length + 1}>
        <thead role="rowgroup">
          <tr role="row">
            {columns.map((column) => (
              <Head key={column.id} column={column as Column<unknown>} order={order} param={sortParam} />
            ))}
          </tr>
        </thead>
        <tbody role="rowgroup">
          <Spacer rows={from} span={columns.length} />
          {rows.slice(from, to).map((row, index) => (
            <Line
              key={id(row)}
              row={row}
              index={from + index + 2}
              columns={columns as Column<unknown>[]}
              chosen={row === current}
              class={`${props.onOpen ? "opens" : ""} ${props.rowClass?.(row) ?? ""}`}
              pick={pick as { current: (row: unknown) => void }}
            />
          ))}
          <Spacer rows={rows.length - to} span={columns.length} />
        </tbody>
      </table>
    </div>
  );
  if (!props.choosable) return table;
  return (
    <>
      <Chooser columns={props.columns as Column<unknown>[]} left={left} />
      {table}
    </>
  );
}

interface LineProps {
  row: unknown;
  index: number;
  columns: Column<unknown>[];
  chosen: boolean;
  class: string;
  pick: { current: (row: unknown) => void };
}

/** A row; made anew when something of it, or a signal that a cell reads, has changed, and not because others come and go. */
class Line extends Component<LineProps> {
  override shouldComponentUpdate(next: LineProps, state: object): boolean {
    return state !== this.state || (Object.keys(next) as (keyof LineProps)[]).some((name) => next[name] !== this.props[name]);
  }

  private readonly click = (event: Event): void => {
    if ((event.target as Element).closest("a,button,input") || getSelection()?.toString()) return;
    this.props.pick.current(this.props.row);
  };

  render({ row, index, columns, chosen, class: name }: LineProps) {
    return (
      <tr role="row" aria-rowindex={index} aria-current={chosen ? "true" : undefined} class={`${chosen ? "chosen" : ""} ${name}`} onClick={this.click}>
        {columns.map((column) => (
          <td key={column.id} role="cell" class={`${column.num ? "num" : ""} ${column.aside ? "aside" : ""} ${column.class ?? ""}`}>
            {column.cell(row)}
          </td>
        ))}
      </tr>
    );
  }
}

const leftOut = (): string[] => param("without").split(",").filter(Boolean);

/** Which columns are shown. */
function Chooser({ columns, left }: { columns: Column<unknown>[]; left: string[] }) {
  const choose = (id: string, shown: boolean): void => {
    const next = shown ? left.filter((each) => each !== id) : [...left, id];
    if (next.length < columns.length) set({ without: next.join(",") || null });
  };
  return (
    <details class="chooser">
      <summary>columns{left.length > 0 && `: ${left.length} left out`}</summary>
      <fieldset>
        <legend class="unseen">columns that are shown</legend>
        {columns.map((column) => (
          <label key={column.id}>
            <input type="checkbox" checked={!left.includes(column.id)} onChange={(event) => choose(column.id, event.currentTarget.checked)} /> {column.head || column.title}
          </label>
        ))}
      </fieldset>
    </details>
  );
}

function Head({ column, order, param: name }: { column: Column<unknown>; order: string; param: string }) {
  const down = order === `-${column.id}`;
  const mine = down || order === column.id;
  const next = mine ? (down ? column.id : null) : `-${column.id}`;
  return (
    <th role="columnheader" scope="col" class={`${column.num ? "num" : ""} ${column.aside ? "aside" : ""}`} aria-sort={mine ? (down ? "descending" : "ascending") : undefined} title={column.title}>
      {column.sort ? (
        <button type="button" onClick={() => set({ [name]: next })}>
          {column.head || <span class="unseen">{column.title}</span>}
          {mine ? (down ? " ↓" : " ↑") : ""}
        </button>
      ) : (
        column.head || <span class="unseen">{column.title ?? column.id}</span>
      )}
    </th>
  );
}

/**
 * Have each row of a long table laid out and drawn by itself, in columns as wide as the table's own layout makes them:
 * a table is laid out and drawn as a whole whenever a row comes or goes.
 */
function standApart(table: HTMLTableElement, apart: boolean): void {
  table.classList.remove("apart");
  if (!apart) return;
  const widths = [...table.tHead!.rows[0]!.cells].map((cell) => `${cell.getBoundingClientRect().width}px`);
  table.style.setProperty("--columns", widths.join(" "));
  table.classList.add("apart");
}

function Spacer({ rows, span }: { rows: number; span: number }) {
  const cell = useRef<HTMLTableCellElement>(null);
  useLayoutEffect(() => {
    if (cell.current) cell.current.style.height = `${rows * HEIGHT}px`;
  }, [rows]);
  if (rows <= 0) return null;
  return (
    <tr class="spacer" aria-hidden="true">
      <td ref={cell} colSpan={span} />
    </tr>
  );
}

function sorted<Row>(rows: readonly Row[], columns: Column<Row>[], order: string): readonly Row[] {
  const column = columns.find((each) => each.id === order.replace(/^-/, ""));
  if (!column?.sort) return rows;
  const by = column.sort;
  const sign = order.startsWith("-") ? -1 : 1;
  return [...rows].sort((one, other) => sign * compare(by(one), by(other)));
}

function compare(one: string | number | null, other: string | number | null): number {
  if (one === null || other === null) return one === other ? 0 : one === null ? -1 : 1;
  if (typeof one === "number" && typeof other === "number") return one - other;
  return String(one).localeCompare(String(other), "en", { numeric: true });
}

function reveal(box: HTMLElement | null, index: number, virtual: boolean): void {
  if (!box) return;
  if (virtual) {
    const y = index * HEIGHT;
    if (y < box.scrollTop) box.scrollTop = y;
    else if (y > box.scrollTop + box.clientHeight - 3 * HEIGHT) box.scrollTop = y - box.clientHeight + 3 * HEIGHT;
    return;
  }
  requestAnimationFrame(() => box.querySelector("tr.chosen")?.scrollIntoView({ block: "nearest" }));
}
