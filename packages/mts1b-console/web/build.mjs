// Builds the pages into the Python package: the same sources and lockfile give the same bytes.
//
//   node build.mjs               into ../src/mts1b_console/static
//   node build.mjs FOLDER        elsewhere: how the check compares
import { build } from "esbuild";
import { createHash } from "node:crypto";
import { cp, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const here = fileURLToPath(new URL(".", import.meta.url));
const out = process.argv[2] ?? join(here, "../src/mts1b_console/static");

await mkdir(out, { recursive: true });
await build({
  absWorkingDir: here,
  entryPoints: { app: "src/main.tsx" },
  outdir: out,
  bundle: true,
  minify: true,
  format: "esm",
  target: ["chrome110", "firefox115", "safari16.4"],
  legalComments: "none",
  charset: "utf8",
  logLevel: "warning",
});
await cp(join(here, "src/icon.svg"), join(out, "icon.svg"));
// with its hash in its address a file is kept for good: another one has another address
let page = await readFile(join(here, "src/index.html"), "utf8");
for (const name of ["icon.svg", "app.css", "app.js"]) {
  const hash = createHash("sha256").update(await readFile(join(out, name))).digest("hex").slice(0, 16);
  page = page.replace(`"/static/${name}"`, `"/static/${name}?${hash}"`);
}
await writeFile(join(out, "index.html"), page);

const licences = [];
for (const name of ["preact", "@preact/signals", "@preact/signals-core", "uplot"]) {
  const folder = join(here, "node_modules", name);
  const { version } = JSON.parse(await readFile(join(folder, "package.json"), "utf8"));
  licences.push(`${name} ${version}\n\n${(await readFile(join(folder, "LICENSE"), "utf8")).trim()}\n`);
}
await writeFile(join(out, "LICENSES.txt"), licences.join(`\n${"-".repeat(80)}\n\n`));
