// Runs the JavaScript blocks of a page as programs, in order. Usage: node readme-examples.mjs PAGE
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";

const page = readFileSync(process.argv[2], "utf8");
const blocks = [...page.matchAll(/^```js\n(.*?)^```$/gms)].map(([, code]) => code);
if (blocks.length === 0) throw new Error("the page has no example");
blocks.forEach((code, at) => {
  const file = `example-${at + 1}.mjs`;
  writeFileSync(file, code);
  console.log(`example ${at + 1} of ${blocks.length}`);
  execFileSync(process.execPath, [file], { stdio: "inherit", timeout: 120_000 });
});
