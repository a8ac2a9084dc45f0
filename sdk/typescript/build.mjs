// Builds the package twice, as ES modules and as CommonJS, each with its declarations.
import { execFileSync } from "node:child_process";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const folder = dirname(fileURLToPath(import.meta.url));
const tsc = createRequire(import.meta.url).resolve("typescript/bin/tsc");
rmSync(join(folder, "dist"), { recursive: true, force: true });
const builds = {
  esm: { type: "module", options: [] },
  cjs: {
    type: "commonjs",
    options: ["--module", "commonjs", "--moduleResolution", "node10", "--verbatimModuleSyntax", "false"],
  },
};
for (const [name, { type, options }] of Object.entries(builds)) {
  const out = join(folder, "dist", name);
  mkdirSync(out, { recursive: true });
  writeFileSync(join(out, "package.json"), `${JSON.stringify({ type })}\n`);
  const command = [tsc, "-p", folder, "--outDir", out, ...options];
  execFileSync(process.execPath, command, { stdio: "inherit" });
}
