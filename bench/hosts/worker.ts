/**
 * One measurement of hosts, in a process of its own: `worker.ts <mode> <database url> <folder> <runs> <steps> <samples>`. Prints one line
 * of JSON. Modes: `in_process`, `node`, `python` (plain processes) and `node-sandbox`, `python-sandbox`.
 */
import fs from 'node:fs';
import path from 'node:path';
import { createEngine } from '@centaur/kernel/engine';
import { connectStore, migrate } from '@centaur/kernel/store';
import { createHosts } from '@centaur/runtime/hosts/hosted';
import { launchPlain } from '@centaur/runtime/hosts/launch';
import { createNodeHost } from '@centaur/runtime/hosts/node';
import { createSandboxedLauncher } from '@centaur/runtime/hosts/sandboxed';
import { createLocalBackend } from '@centaur/runtime/sandbox/local';
import { quantile } from '../measure.ts';

const [mode = '', url = '', folder = '', runs = '200', steps = '50', samples = '5'] = process.argv.slice(2);
const NODE = `export const WORKFLOW_NAME = 'steps';
export async function handler(input, ctx) {
  for (let i = 0; i < input.steps; i++) await ctx.step('s', () => i);
  return null;
}
`;
const PYTHON = `from api.workflow_engine import WorkflowContext
WORKFLOW_NAME = "steps"
async def handler(inp, ctx: WorkflowContext):
    for i in range(inp["steps"]):
        await ctx.step("s", lambda: i)
    return None
`;
const python = mode.startsWith('python');
const sandboxed = mode.endsWith('-sandbox');
const code = path.join(folder, 'code');
fs.mkdirSync(code, { recursive: true });
fs.writeFileSync(path.join(code, python ? 'steps.py' : 'steps.mjs'), python ? PYTHON : NODE);

await migrate(url);
await using stack = new AsyncDisposableStack();
const store = await connectStore({ url });
stack.defer(() => store.close());
const log = () => {};
const interpreter = fs.existsSync('/usr/bin/python3') ? '/usr/bin/python3' : 'python3';
const coldStarts: number[] = [];

if (mode === 'in_process') {
  const host = await createNodeHost({ dirs: [code], watch: false });
  stack.defer(() => host.close());
  const engine = await createEngine({ store, registry: host.registry });
  await report(engine);
} else {
  const backend = createLocalBackend({ stateDir: path.join(folder, 'sandboxes') });
  const launcher = sandboxed
    ? createSandboxedLauncher({
        backend,
        installation: undefined,
        firewall: '127.0.0.1:9',
        postgres: '127.0.0.1:9',
        limits: { memoryMb: 512, processes: 64, diskMb: 256, tmpMb: 64, cpus: 2 },
        python: interpreter,
        stateDir: path.join(folder, 'h'),
        log,
      })
    : undefined;
  // its first sandbox finds out how well this machine isolates
  if (sandboxed) await backend.capabilities();
  const hosts = await createHosts({
    dirs: [code],
    stateDir: path.join(folder, 'state'),
    watch: false,
    launch:
      launcher?.launch ?? ((program, label, onClose) => launchPlain({ program, label, python: interpreter, memoryMb: 512, log, onClose })),
    idleMs: 50,
  });
  const engine = await createEngine({ store, registry: hosts.registry });
  hosts.serve({ startRun: ({ from, ...request }) => engine.startFrom(from, request), metric: () => {}, log });
  await engine.work();
  // from a start without any process to the first step's commit
  for (let i = 0; i < Number(samples); i++) {
    // long enough for a sandbox to be made ahead, where there are any
    await new Promise((resolve) => setTimeout(resolve, 2000));
    const began = performance.now();
    const { run_id: runId } = await engine.start({ workflow_name: 'steps', input: { steps: 1 } });
    for await (const event of engine.tailRun(runId)) if (event.event === 'step.completed') break;
    coldStarts.push(performance.now() - began);
  }
  await report(engine, true);
  await engine.drain(1000);
  await hosts.close();
  await launcher?.close();
  if (sandboxed) await backend.shutdown();
}

async function report(engine: Awaited<ReturnType<typeof createEngine>>, working = false): Promise<void> {
  if (!working) await engine.work();
  const many = async (): Promise<number> => {
    const began = performance.now();
    const before = engine.stats().runs_finished;
    await Promise.all(
      Array.from({ length: Number(runs) }, () => engine.start({ workflow_name: 'steps', input: { steps: Number(steps) } })),
    );
    for (;;) {
      const { completed, failed } = engine.stats().runs_finished;
      if (failed > before.failed) throw new Error('a run failed');
      if (completed - before.completed >= Number(runs)) break;
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    return (performance.now() - began) / 1000;
  };
  await many();
  const seconds = await many();
  const figures = {
    'steps/s': (Number(runs) * Number(steps)) / seconds,
    ...(coldStarts.length === 0
      ? {}
      : { 'cold start to first step, ms': quantile(coldStarts.slice(1), 0.5), 'first start, ms': coldStarts[0] ?? 0 }),
  };
  console.log(JSON.stringify(figures));
  if (!working) await engine.drain(1000);
}
