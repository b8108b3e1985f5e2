// The field of a query, which completes its last word: subjects, names of fields, values of those that have few.
import type { Signal } from "@preact/signals";
import { useSource } from "../base/source";
import type { Words } from "../shapes";

const MOST = 12;

/** The whole query, completed in each way that is known. Pure. */
export function completed(text: string, words: Words): string[] {
  const at = Math.max(text.lastIndexOf(" "), text.lastIndexOf("(")) + 1;
  const minus = text[at] === "-" ? 1 : 0;
  const [before, word] = [text.slice(0, at + minus), text.slice(at + minus)];
  if (!word) return [];
  const colon = word.indexOf(":");
  const candidates =
    colon < 0
      ? words.fields.map((field) => `${field}:`)
      : (word.slice(0, colon) === "subject" ? words.subjects : (words.values[word.slice(0, colon)] ?? [])).map((value) => word.slice(0, colon + 1) + value);
  return candidates.filter((each) => each !== word && each.startsWith(word)).slice(0, MOST).map((each) => before + each);
}

export function QueryField({ id, text, placeholder }: { id: string; text: Signal<string>; placeholder: string }) {
  const words = useSource<Words>("/api/words", 0).data.value;
  return (
    <>
      <input
        type="search"
        class="wide mono"
        aria-label="query"
        list={id}
        placeholder={placeholder}
        spellcheck={false}
        autocomplete="off"
        value={text.value}
        onInput={(event) => (text.value = event.currentTarget.value)}
      />
      <datalist id={id}>{words && completed(text.value, words).map((each) => <option key={each} value={each} />)}</datalist>
    </>
  );
}
