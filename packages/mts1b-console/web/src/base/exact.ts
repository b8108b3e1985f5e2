// JSON as it was written: figures stay the digits that came, names keep their order, doubled names are seen.

export type Exact =
  | { kind: "object"; members: [string, Exact][] }
  | { kind: "list"; items: Exact[] }
  | { kind: "text"; text: string }
  | { kind: "figure"; text: string }
  | { kind: "word"; text: "true" | "false" | "null" };

const DEEPEST = 200;
const FIGURE = /-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const TEXT = /"[^"\\\u0000-\u001f]*(?:\\.[^"\\\u0000-\u001f]*)*"/y;
const WORD = /true|false|null/y;
const BLANK = /[ \t\r\n]*/y;

/** What a text of JSON says; null when it is none, or deeper than anybody reads. */
export function readExact(text: string): Exact | null {
  const reader = new Reader(text);
  try {
    return reader.whole();
  } catch {
    return null;
  }
}

class Reader {
  private at = 0;

  constructor(private readonly text: string) {}

  whole(): Exact {
    const found = this.value(0);
    this.take(BLANK);
    if (this.at < this.text.length) throw new SyntaxError("more follows");
    return found;
  }

  private take(pattern: RegExp): string | null {
    pattern.lastIndex = this.at;
    const found = pattern.exec(this.text);
    if (!found) return null;
    this.at = pattern.lastIndex;
    return found[0];
  }

  private next(char: string): boolean {
    this.take(BLANK);
    if (this.text[this.at] !== char) return false;
    this.at += 1;
    return true;
  }

  private must(char: string): void {
    if (!this.next(char)) throw new SyntaxError(`${char} is missing`);
  }

  private string(): string {
    this.take(BLANK);
    const found = this.take(TEXT);
    if (found === null) throw new SyntaxError("no text");
    return JSON.parse(found) as string;
  }

  private value(depth: number): Exact {
    if (depth > DEEPEST) throw new SyntaxError("too deep");
    if (this.next("{")) {
      const members: [string, Exact][] = [];
      if (this.next("}")) return { kind: "object", members };
      do {
        const name = this.string();
        this.must(":");
        members.push([name, this.value(depth + 1)]);
      } while (this.next(","));
      this.must("}");
      return { kind: "object", members };
    }
    if (this.next("[")) {
      const items: Exact[] = [];
      if (this.next("]")) return { kind: "list", items };
      do items.push(this.value(depth + 1));
      while (this.next(","));
      this.must("]");
      return { kind: "list", items };
    }
    this.take(BLANK);
    if (this.text[this.at] === '"') return { kind: "text", text: this.string() };
    const figure = this.take(FIGURE);
    if (figure !== null) return { kind: "figure", text: figure };
    const word = this.take(WORD);
    if (word !== null) return { kind: "word", text: word as "true" };
    throw new SyntaxError("no value");
  }
}
