// Doing what adds risk: what would happen, a reason, and the thing typed out. Nothing is sent before all three.
import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect } from "preact/hooks";
import { type Action, preview } from "../base/act";
import type { ActPreview, ActRequest } from "../shapes";
import { Command, Trouble } from "./bits";
import { Dialog } from "./dialog";

export const SHORTEST = 10;

export interface ConfirmProps {
  title: string;
  action: Action;
  /** What it is about; asked about anew whenever it changes. */
  about: ActRequest;
  /** What has to be typed; the responder's own word when it is left out. */
  typed?: string;
  button: (preview: ActPreview | null) => string;
  /** What speaks against it, and choices. */
  children?: ComponentChildren;
  onClose: () => void;
  /** Does it; what it raises is shown, and the dialog stays. */
  onDo: (preview: ActPreview, reason: string, typed: string) => Promise<void>;
}

export function Confirm(props: ConfirmProps) {
  const shown = useSignal<ActPreview | null>(null);
  const trouble = useSignal<Error | null>(null);
  const reason = useSignal("");
  const typed = useSignal("");
  const busy = useSignal(false);
  const key = JSON.stringify(props.about);
  useEffect(() => {
    let mine = true;
    shown.value = null;
    trouble.value = null;
    preview(props.action, props.about).then(
      (found) => mine && (shown.value = found),
      (error: Error) => mine && (trouble.value = error),
    );
    return () => {
      mine = false;
    };
  }, [key]);
  const wanted = props.typed ?? shown.value?.typed ?? "";
  const short = reason.value.trim().length < SHORTEST;
  const ready = shown.value !== null && !short && typed.value.trim() === wanted && !busy.value;
  const submit = async (event: Event): Promise<void> => {
    event.preventDefault();
    if (!ready) return;
    busy.value = true;
    trouble.value = null;
    try {
      await props.onDo(shown.value!, reason.value.trim(), typed.value.trim());
      props.onClose();
    } catch (error) {
      trouble.value = error as Error;
    } finally {
      busy.value = false;
    }
  };
  return (
    <Dialog label={props.title} onClose={props.onClose}>
      <form onSubmit={(event) => void submit(event)}>
        <header>
          <h1>{props.title}</h1>
          <span class="dim">
            <kbd>Esc</kbd> leaves everything as it is
          </span>
        </header>
        <p>
          <b>What happens:</b> {shown.value ? shown.value.words : trouble.value ? "not known" : "asking…"}
        </p>
        {props.children}
        <label class="field">
          <span>
            why, for the audit log ({SHORTEST} letters or more{short && reason.value ? `, ${SHORTEST - reason.value.trim().length} to go` : ""})
          </span>
          <input type="text" data-first maxLength={500} value={reason.value} onInput={(event) => (reason.value = event.currentTarget.value)} />
        </label>
        {wanted && (
          <label class="field">
            <span>
              type <b class="mono">{wanted}</b> to confirm
            </span>
            <input
              type="text"
              class="mono"
              autocomplete="off"
              spellcheck={false}
              value={typed.value}
              onInput={(event) => (typed.value = event.currentTarget.value)}
            />
          </label>
        )}
        <Trouble problem={trouble.value} />
        {shown.value?.command && <Command text={shown.value.command} />}
        <footer>
          <button type="button" onClick={props.onClose}>
            Cancel
          </button>
          <button type="submit" class="main" disabled={!ready}>
            {busy.value ? "sent…" : props.button(shown.value)}
          </button>
        </footer>
      </form>
    </Dialog>
  );
}
