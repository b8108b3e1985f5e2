// Narrowing a table that is there whole, by words that its rows contain; `-word` leaves rows out.
import { set } from "../base/route";

export function Filter({ value, what }: { value: string; what: string }) {
  return (
    <input
      type="search"
      class="right"
      aria-label={`narrow the ${what}`}
      placeholder={`narrow the ${what}`}
      title="words that a row contains; -word leaves rows out"
      value={value}
      onInput={(event) => set({ q: event.currentTarget.value })}
      onKeyDown={(event) => {
        if (event.key === "Escape") event.currentTarget.blur();
      }}
    />
  );
}

/** The rows whose text has every word, and none of those with a minus. A copy. */
export function kept<Row>(rows: readonly Row[], text: string, of: (row: Row) => string): Row[] {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length === 0) return [...rows];
  return rows.filter((row) => {
    const said = of(row).toLowerCase();
    return words.every((word) => (word.startsWith("-") && word.length > 1 ? !said.includes(word.slice(1)) : said.includes(word)));
  });
}
