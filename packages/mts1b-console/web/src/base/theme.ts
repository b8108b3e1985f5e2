// Dark, light, or as the system has it.
import { signal } from "@preact/signals";

export type Theme = "system" | "dark" | "light";

const stored = localStorage.getItem("theme");
export const theme = signal<Theme>(stored === "dark" || stored === "light" ? stored : "system");

theme.subscribe((value) => {
  if (value === "system") delete document.documentElement.dataset["theme"];
  else document.documentElement.dataset["theme"] = value;
  localStorage.setItem("theme", value);
});

export const isDark = (): boolean =>
  theme.value === "dark" || (theme.value === "system" && !matchMedia("(prefers-color-scheme: light)").matches);

export function turn(): void {
  theme.value = isDark() ? "light" : "dark";
}
