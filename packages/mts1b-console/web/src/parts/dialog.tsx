// A modal dialog: the browser's own, so that the focus stays inside and Escape closes it.
import type { ComponentChildren } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";
import { enterModal } from "../base/keys";

export function Dialog(props: { label: string; onClose: () => void; class?: string; children: ComponentChildren }) {
  const element = useRef<HTMLDialogElement>(null);
  // before the next key arrives: an Enter right after the key that opens belongs to the dialog
  useLayoutEffect(() => {
    const dialog = element.current!;
    const before = document.activeElement;
    const leave = enterModal();
    dialog.showModal();
    (dialog.querySelector("[data-first]") as HTMLElement | null)?.focus();
    return () => {
      leave();
      dialog.close();
      if (before instanceof HTMLElement && before.isConnected) before.focus({ preventScroll: true });
    };
  }, []);
  return (
    <dialog
      ref={element}
      class={props.class}
      aria-label={props.label}
      onCancel={(event) => {
        event.preventDefault();
        props.onClose();
      }}
      onClick={(event) => {
        if (event.target === element.current) props.onClose();
      }}
    >
      {props.children}
    </dialog>
  );
}
