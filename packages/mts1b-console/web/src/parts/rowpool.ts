// The rows of the tail. A fixed number of elements is made once and written over and over: nothing grows with what
// passes, and no row is made or thrown away while events come.
import { clock } from "../base/time";
import { subject, visible } from "../base/format";
import type { Row } from "../base/live";

/** Rows that are kept to scroll back to. */
export const KEPT = 2_000;
const HEIGHT = 22;
const MOST_LETTERS = 400;

interface Cells {
  row: HTMLElement;
  time: Text;
  subject: Text;
  summary: Text;
  shown: number;
}

export class RowPool {
  private readonly pool: Cells[] = [];
  /** Newest last. */
  private rows: Row[] = [];
  private latest = false;
  /** How many rows the view is scrolled back from the newest. */
  private back = 0;
  private chosen = -1;
  private scheduled = false;
  private frozen = false;
  /** What came while it was frozen. */
  private held: Row[] = [];
  /** Where the row of a subject is, in mode latest. */
  private readonly places = new Map<string, number>();
  private readonly watch: ResizeObserver;

  constructor(
    private readonly box: HTMLElement,
    private readonly onOpen: (row: number) => void,
    private readonly onBack: (back: number) => void,
  ) {
    box.addEventListener("wheel", this.wheel, { passive: true });
    box.addEventListener("click", this.click);
    this.watch = new ResizeObserver(() => this.fit());
    this.watch.observe(box);
    this.fit();
  }

  close(): void {
    this.watch.disconnect();
    this.box.removeEventListener("wheel", this.wheel);
    this.box.removeEventListener("click", this.click);
    this.box.replaceChildren();
  }

  /** Begin anew; `latest`: one row a subject, in the subjects' order. */
  clear(latest: boolean): void {
    this.latest = latest;
    this.rows = [];
    this.held = [];
    this.frozen = false;
    this.places.clear();
    this.back = 0;
    this.chosen = -1;
    this.draw();
  }

  /** Hold what is seen as it is, at once; what comes meanwhile is kept, and taken when it goes on. */
  freeze(frozen: boolean): void {
    if (frozen === this.frozen) return;
    if (frozen) this.paint();
    this.frozen = frozen;
    if (frozen) return;
    const held = this.held;
    this.held = [];
    this.add(held);
  }

  add(rows: readonly Row[]): void {
    if (rows.length === 0) return;
    if (this.frozen) {
      this.held.push(...rows);
      if (this.held.length > KEPT) this.held.splice(0, this.held.length - KEPT);
      return;
    }
    if (this.latest) this.replace(rows);
    else {
      this.rows.push(...rows);
      if (this.rows.length > KEPT) this.rows.splice(0, this.rows.length - KEPT);
      if (this.back > 0) this.back = Math.min(this.rows.length - 1, this.back + rows.length);
    }
    this.draw();
  }

  /** Each row in the place of its subject; the places are made anew only when there is a new subject. */
  private replace(rows: readonly Row[]): void {
    let fresh = false;
    for (const row of rows) {
      const at = this.places.get(row[2]);
      if (at !== undefined) this.rows[at] = row;
      else if (this.rows.length < KEPT) {
        this.places.set(row[2], this.rows.push(row) - 1);
        fresh = true;
      }
    }
    if (!fresh) return;
    this.rows.sort((one, other) => (one[2] < other[2] ? 1 : -1));
    this.rows.forEach((row, at) => this.places.set(row[2], at));
  }

  get length(): number {
    return this.rows.length;
  }

  /** Scroll by so many rows; back to the newest with minus infinity. */
  scroll(by: number): void {
    const most = Math.max(0, this.rows.length - this.pool.length);
    const next = Math.max(0, Math.min(most, this.back + by));
    if (next === this.back) return;
    this.back = next;
    this.onBack(next);
    this.draw();
  }

  /** Move the chosen row; returns its number. */
  choose(by: number): number {
    const at = this.rows.findIndex((row) => row[0] === this.chosen);
    const from = at < 0 ? this.rows.length - this.back : at;
    const next = this.rows[Math.max(0, Math.min(this.rows.length - 1, from - by))];
    if (!next) return -1;
    this.chosen = next[0];
    const depth = this.rows.length - 1 - this.rows.indexOf(next);
    if (depth < this.back) this.scroll(depth - this.back);
    else if (depth >= this.back + this.pool.length) this.scroll(depth - this.back - this.pool.length + 1);
    this.draw();
    return this.chosen;
  }

  mark(row: number): void {
    this.chosen = row;
    this.draw();
  }

  private readonly wheel = (event: WheelEvent): void => this.scroll(Math.sign(event.deltaY) * 3);

  private readonly click = (event: Event): void => {
    if (getSelection()?.toString()) return;
    const row = (event.target as Element).closest("[data-row]");
    if (row instanceof HTMLElement) this.onOpen(Number(row.dataset["row"]));
  };

  private fit(): void {
    const wanted = Math.max(4, Math.min(120, Math.floor(this.box.clientHeight / HEIGHT)));
    while (this.pool.length < wanted) this.pool.push(this.make());
    while (this.pool.length > wanted) this.pool.pop()!.row.remove();
    this.draw();
  }

  private make(): Cells {
    const row = document.createElement("div");
    row.className = "tailrow";
    row.setAttribute("role", "row");
    const text = (name: string): Text => {
      const cell = document.createElement("bdi");
      cell.className = name;
      cell.setAttribute("role", "cell");
      const node = document.createTextNode("");
      cell.append(node);
      row.append(cell);
      return node;
    };
    const cells: Cells = { row, time: text("time"), subject: text("subject"), summary: text("summary"), shown: -2 };
    this.box.append(row);
    return cells;
  }

  private draw(): void {
    if (this.scheduled) return;
    this.scheduled = true;
    requestAnimationFrame(() => {
      this.scheduled = false;
      this.paint();
    });
  }

  private paint(): void {
    const newest = this.rows.length - 1 - this.back;
    for (const [at, cells] of this.pool.entries()) {
      const row = this.rows[newest - at];
      const number = row ? row[0] : -1;
      const chosen = row !== undefined && number === this.chosen;
      if (cells.row.classList.contains("chosen") !== chosen) cells.row.classList.toggle("chosen", chosen);
      if (cells.shown === number) continue;
      const flash = this.latest && cells.shown >= 0 && row !== undefined && cells.row.dataset["subject"] === row[2];
      cells.shown = number;
      cells.row.dataset["row"] = String(number);
      cells.row.hidden = row === undefined;
      if (!row) continue;
      cells.row.dataset["subject"] = row[2];
      cells.time.data = clock(row[1], { millis: true, date: "never" });
      cells.subject.data = visible(subject(row[2]));
      cells.summary.data = visible(row[3].slice(0, MOST_LETTERS));
      cells.row.classList.toggle("refused", (row[4] & 1) !== 0);
      cells.row.classList.toggle("fresh", flash);
    }
  }
}
