// Notes on dead letters: what somebody knows about one or about a group, shown to everybody, written in a dialog.
import { useSignal } from "@preact/signals";
import { useMemo } from "preact/hooks";
import { act, newRequest } from "../base/act";
import { count } from "../base/format";
import type { LetterGroup, LetterRow, Note } from "../shapes";
import { announce, Choices, Command, Data, Trouble, When } from "./bits";
import { Dialog } from "./dialog";

const MOST = 2000;

/** A note: who, since when, what. */
export function Noted({ note }: { note: Note | null | undefined }) {
  if (!note) return null;
  return (
    <p class="note">
      ✎ <b><Data>{note.actor}</Data></b>, <When t={note.at} />: <Data>{note.text}</Data>
    </p>
  );
}

/** A note in a cell of a table; what does not fit is in the title. */
export function NoteCell({ note }: { note: Note | null }) {
  if (!note) return <span class="dim">–</span>;
  return (
    <>
      <Data>{note.actor}</Data>: <Data>{note.text}</Data>
    </>
  );
}

interface NotingProps {
  group: LetterGroup;
  /** The letter that is open beside the group. */
  letter: LetterRow | undefined;
  onClose: () => void;
  onDone: () => void;
}

export function Noting({ group, letter, onClose, onDone }: NotingProps) {
  const requestId = useMemo(newRequest, []);
  const on = useSignal<"group" | "letter">("group");
  const written = useSignal<string | null>(null);
  const trouble = useSignal<Error | null>(null);
  const busy = useSignal(false);
  const before = on.value === "group" ? group.note : (letter?.note ?? null);
  const about = on.value === "group" ? group.key : letter!.id;
  const text = written.value ?? before?.text ?? "";
  const submit = async (event: Event): Promise<void> => {
    event.preventDefault();
    if (busy.value) return;
    busy.value = true;
    trouble.value = null;
    try {
      await act("deadletters/note", { about, note: text.trim() || null, request_id: requestId });
      announce(text.trim() ? "noted" : "the note is gone");
      onDone();
      onClose();
    } catch (error) {
      trouble.value = error as Error;
    } finally {
      busy.value = false;
    }
  };
  const changed = text.trim() !== (before?.text ?? "");
  return (
    <Dialog label="note on dead letters" onClose={onClose}>
      <form onSubmit={(event) => void submit(event)}>
        <header>
          <h1>Note on dead letters of {group.consumer}</h1>
          <span class="dim">
            <kbd>Esc</kbd> leaves everything as it is
          </span>
        </header>
        {letter && (
          <div class="bar">
            <span>on</span>
            <Choices
              label="on what"
              value={on.value}
              choices={[
                { value: "group", label: `the group of ${count(group.count)}`, title: "also letters of this cause that come later" },
                { value: "letter", label: `${letter.stream}:${letter.sequence} only` },
              ]}
              onChoose={(value) => {
                on.value = value;
                written.value = null;
              }}
            />
          </div>
        )}
        <label class="field">
          <span>what is known, for everybody who sees these letters</span>
          <input type="text" data-first maxLength={MOST} value={text} onInput={(event) => (written.value = event.currentTarget.value)} />
        </label>
        <Noted note={before} />
        <Trouble problem={trouble.value} />
        {trouble.value && <Command text={`mts1b deadletters note ${about} --note '${text.trim().replaceAll("'", "")}'`} />}
        <footer>
          <button type="button" onClick={onClose}>
            Cancel
          </button>
          <button type="submit" class="main" disabled={!changed} aria-busy={busy.value}>
            {busy.value ? "sent…" : text.trim() || !before ? "Note it" : "Take the note away"}
          </button>
        </footer>
      </form>
    </Dialog>
  );
}
