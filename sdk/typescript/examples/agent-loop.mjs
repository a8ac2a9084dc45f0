// Lets generated code run in a sandbox that reaches one host only, with a time limit, and takes its files out.
//
//     MSB_IMAGE=python:3.12-alpine node agent-loop.mjs
//
// `generate` stands for a model: it gets the output of its last attempt, and returns the next script.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Client, ExecTimeoutError } from "@msb/sdk";

const ATTEMPTS_MAX = 4;
const TIMEOUT_MS = 5_000;
const FILE_BYTES_MAX = 1024 * 1024;

const scripts = [
  "while :; do sleep 1; done",
  "cat /work/input | no-such-program > /work/out/result",
  "mkdir -p /work/out && sort -n /work/input > /work/out/result && wc -l < /work/input > /work/out/count",
];

async function generate(attempt, feedback) {
  console.log(`attempt ${attempt}${feedback === undefined ? "" : `, after: ${feedback.trim()}`}`);
  return scripts[attempt];
}

async function run(sandbox, script) {
  try {
    const { success, exitCode, stdout, stderr } = await sandbox.exec("sh", ["-e", "/work/script"], {
      cwd: "/work",
      timeout: TIMEOUT_MS,
      maxOutput: FILE_BYTES_MAX,
      rlimits: [{ resource: "nproc", soft: 64 }],
    });
    return { success, feedback: `exit code ${exitCode}: ${stdout}${stderr}` };
  } catch (error) {
    if (error instanceof ExecTimeoutError) return { success: false, feedback: error.message };
    throw error;
  }
}

const output = process.argv[2] ?? "agent-output";
const client = new Client();
const sandbox = await client.create("agent-loop", {
  image: process.env.MSB_IMAGE ?? "alpine",
  memory: 256,
  network: { default: "deny", rules: ["allow@pypi.org:tcp:443"] },
  maxDuration: "10m",
  ephemeral: true,
  replace: true,
});
try {
  await sandbox.fs.write("/work/input", "10\n9\n8\n", { parents: true });
  let feedback;
  for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt += 1) {
    const script = await generate(attempt, feedback);
    if (script === undefined) throw new Error("the model has no more ideas");
    await sandbox.fs.write("/work/script", script);
    const result = await run(sandbox, script);
    feedback = result.feedback;
    if (!result.success) continue;
    mkdirSync(output, { recursive: true });
    // The names are the guest's, but each is one plain component. Only regular files of a bounded size are taken.
    for (const { name, kind } of await sandbox.fs.list("/work/out")) {
      if (kind !== "file") continue;
      const data = await sandbox.fs.read(`/work/out/${name}`, { max: FILE_BYTES_MAX });
      writeFileSync(join(output, name), data);
      console.log(`${name}: ${JSON.stringify(new TextDecoder().decode(data))}`);
    }
    break;
  }
} finally {
  await sandbox.dispose();
}
