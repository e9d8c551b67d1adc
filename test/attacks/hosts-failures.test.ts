/** A malicious workflow that crashes, hangs, floods and grows: its own runs end of it, those of others complete, and the worker answers. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { after, before, describe, test } from 'node:test';
import { startEffort, watchStandstill } from '../support/effort.ts';
import { fileURLToPath } from 'node:url';
import type { RunDetail } from '../../kernel/engine/index.ts';
import { readTree, viewsOf } from '../../runtime/hosts/hosted/view.ts';
import { createSandboxedLauncher } from '../../runtime/hosts/hosted/sandboxed.ts';
import { createLocalBackend } from '../../runtime/sandbox/local/index.ts';
import { createTestFirewall } from '../support/firewall.ts';
import { createHostWorld, type HostWorld, LIMITS, nodeWorkflow, PYTHON, pythonWorkflow } from '../support/hosts.ts';
import { eventually } from '../support/wait.ts';
import { within } from './support.ts';

const WORKER = fileURLToPath(new URL('host-worker/worker.ts', import.meta.url));
setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

/** What a run does, how it may end, and for how long it is looked at. */
const FAILURES: Readonly<Record<string, { readonly code: string; readonly ends: RegExp; readonly python?: true }>> = {
  'floods its line with log lines': {
    code: `for (let i = 0; i < 150; i++) { line.write(JSON.stringify({ type: 'ctx.log', run_id: ctx.runId, message: 'x', fields: {}, rest: true, taken: 1 }).concat('\\n').repeat(1000)); if (i % 50 === 0) await new Promise((later) => setImmediate(later)); } return 1`,
    ends: /./,
  },
  'floods its line with what is no message': {
    code: `const waste = 'x\\n'.repeat(500_000); for (let i = 0; i < 3; i++) await new Promise((later) => line.write(waste, later)); return 1`,
    ends: /./,
  },
  'asks 20,000 things without waiting for an answer': {
    code: `for (let i = 1; i <= 20000; i++) say({ type: 'ctx.event.wait', run_id: ctx.runId, request_id: String(i), step: 's', event_type: 'never', rest: true, taken: 1e9 }); await new Promise(() => {})`,
    // by its limit, or before it is reached
    ends: /HOST_CRASHED|RUN_CANCELLED/,
  },
  'says 20,000 things and never comes to rest': {
    code: `for (let i = 1; i <= 20000; i++) say({ type: 'ctx.log', run_id: ctx.runId, message: 'x', fields: {} }); await new Promise(() => {})`,
    ends: /failed HOST_CRASHED/,
  },
  'writes a line of 20 MB': {
    code: `line.write('x'.repeat(20 * 2 ** 20)); await new Promise(() => {})`,
    ends: /failed HOST_CRASHED/,
  },
  'closes its socket and goes on': { code: `line.destroy(); await new Promise(() => {})`, ends: /failed HOST_CRASHED/ },
  'ends its process': { code: `process.kill(process.pid, 'SIGKILL'); await new Promise(() => {})`, ends: /failed HOST_CRASHED/ },
  'eats memory': {
    code: `const all = []; for (;;) all.push(Buffer.alloc(2 ** 24, 1))`,
    ends: /failed HOST_CRASHED/,
  },
  'forks without end': {
    python: true,
    code: `import os, time\nfor _ in range(400):\n    try:\n        if os.fork() == 0:\n            time.sleep(60)\n            os._exit(0)\n    except OSError:\n        return "refused"\nreturn "forked"`,
    ends: /^completed "refused"$/,
  },
  'never answers': { code: `await new Promise(() => {})`, ends: /^cancelled/ },
};

/** What could be kept in the worker. */
const FILLERS: Readonly<Record<string, string>> = {
  'messages that never come to rest': `const text = 'x'.repeat(2 ** 22); for (let i = 0; i < 60; i++) await new Promise((later) => line.write(JSON.stringify({ type: 'ctx.log', run_id: ctx.runId, message: text }) + '\\n', later)); await new Promise(() => {})`,
  'names of ten megabytes': `for (let i = 0; i < 30; i++) await new Promise((later) => line.write(JSON.stringify({ type: 'ctx.sleep', run_id: ctx.runId, request_id: '1', step: i + 'n'.repeat(1e7), duration_seconds: 1, rest: true, taken: 1e9 }) + '\\n', later)); await new Promise(() => {})`,
  'numbers of ten megabytes': `for (let i = 0; i < 30; i++) await new Promise((later) => line.write(JSON.stringify({ type: 'ctx.sleep', run_id: ctx.runId, request_id: i + 'n'.repeat(1e7), step: 's', duration_seconds: -1, rest: true, taken: 1e9 }) + '\\n', later)); await new Promise(() => {})`,
};

describe('a malicious workflow that fails', { timeout: 600_000 }, () => {
  let world: HostWorld;
  const thrown: Error[] = [];
  const standstill = watchStandstill();
  const names = Object.keys(FAILURES).map((_, i) => `mallory_${i}`);
  before(async () => {
    const files = Object.values(FAILURES).map(({ python }, i) =>
      python === true ? [`${names[i]}.py`, pythonWorkflow(`${names[i]}`)] : [`${names[i]}.mjs`, nodeWorkflow(`${names[i]}`)],
    );
    const fillers = Object.keys(FILLERS).map((_, i) => [`filler_${i}.mjs`, nodeWorkflow(`filler_${i}`)]);
    world = await createHostWorld({
      'victim.mjs': nodeWorkflow('victim'),
      'mallory.mjs': nodeWorkflow('mallory'),
      ...Object.fromEntries([...files, ...fillers]),
    });
    assert.deepEqual(world.hosts.problems(), []);
    process.setUncaughtExceptionCaptureCallback((error) => void thrown.push(error));
    await world.run('victim', { code: 'return 1' });
  });
  after(async () => {
    process.setUncaughtExceptionCaptureCallback(null);
    standstill[Symbol.dispose]();
    await world[Symbol.asyncDispose]();
  });

  for (const [i, [what, code]] of Object.entries(FILLERS).entries())
    test(`fills no memory of the worker with ${what}`, async () => {
      collectGarbage();
      const before = process.memoryUsage().heapUsed + process.memoryUsage().external;
      const { run_id: runId } = await world.engine.start({ workflow_name: `filler_${i}`, input: { code } });
      let most = 0;
      const until = performance.now() + 5000;
      while (performance.now() < until && most < 150) {
        await new Promise((later) => setTimeout(later, 500));
        collectGarbage();
        const { heapUsed, external } = process.memoryUsage();
        most = Math.max(most, Math.round((heapUsed + external - before) / 2 ** 20));
        if (!/running|waiting|sleeping|queued/.test((await world.engine.getRun(runId)).status)) break;
      }
      await world.engine.cancelRun(runId).catch(() => undefined);
      await world.ended(runId);
      assert.ok(most < 100, `it keeps ${most} MB`);
    });

  test('with 16 MB of nothing in one line does not hold the worker', async () => {
    standstill.reset();
    await world.run(
      'mallory',
      { code: `say('[' + '[],'.repeat(5e6) + '1]'); await new Promise((later) => setTimeout(later, 100))` },
      60_000,
    );
    assert.ok(standstill.most() < 1000, `the worker stood still for ${Math.round(standstill.most())} ms`);
  });

  test('in ten ways at a time has its own runs end of it; 50 of another complete, and the worker keeps answering', async (t) => {
    standstill.reset();
    const began = performance.now();
    // one alone has to be cancelled; the others come to their end by themselves, however busy the machine is
    const attacks = Object.entries(FAILURES).map(([what, { code }], i) =>
      world.run(names[i] as string, { code }, what === 'never answers' ? 15_000 : 180_000),
    );
    // where the victims fail, that is what is told
    for (const each of attacks) each.catch(() => undefined);
    const victims: RunDetail[] = [];
    for (let round = 0; round < 5; round++) {
      const runs = Array.from({ length: 10 }, () =>
        world.run('victim', { code: `return [await ctx.step('a', () => 1), await ctx.step('b', async () => 2)]` }, 180_000),
      );
      victims.push(...(await Promise.all(runs)));
      await within(60, world.engine.listRuns({ limit: 1 }));
    }
    const took = performance.now() - began;
    assert.deepEqual([...new Set(victims.map(({ status, result }) => `${status} ${JSON.stringify(result)}`))], ['completed [1,2]']);
    const ended = await Promise.all(attacks);
    assert.deepEqual(thrown, []);
    t.diagnostic(`50 runs in ${Math.round(took)} ms, the longest standstill ${Math.round(standstill.most())} ms`);
    const told = ended.map(({ status, error, result }) => [status, error?.code ?? JSON.stringify(result)].join(' '));
    Object.entries(FAILURES).forEach(([what, { ends }], i) => assert.match(told[i] as string, ends, what));
    assert.ok(standstill.most() < 1000, `the worker stood still for ${Math.round(standstill.most())} ms`);
  });
});

describe('a malicious file', () => {
  const folder = fs.mkdtempSync(path.join(tmpdir(), 'centaur-files-'));
  after(() => fs.rmSync(folder, { recursive: true, force: true }));
  const tree = (files: Readonly<Record<string, string>>) => {
    const root = fs.mkdtempSync(path.join(folder, 'w-'));
    for (const [name, text] of Object.entries(files)) fs.writeFileSync(path.join(root, name), text);
    return root;
  };
  const NAME = `export const WORKFLOW_NAME = 'mallory';\n`;

  for (const [what, text] of Object.entries({
    'of spaces': `// defineWorkflow${' '.repeat(30_000)}`,
    'of empty lines': `${NAME}${'\n'.repeat(30_000)}`,
    'of beginnings': `${'defineWorkflow '.repeat(30)}${'({'.repeat(30_000)}`,
  }))
    test(`is read at once: one ${what}`, () => {
      const read = readTree(tree({ 'victim.mjs': `export const WORKFLOW_NAME = 'victim';\n`, 'mallory.mjs': text }));
      const effort = startEffort();
      viewsOf(read);
      assert.ok(effort() < 1000, `it took ${Math.round(effort())} ms`);
    });

  for (const [what, target] of Object.entries({
    'the environment of the server': '/proc/self/environ',
    'a file of this machine': '/etc/passwd',
    'a folder of this machine': '/etc/ssl',
  }))
    test(`that is a link to ${what} shows nothing of it`, () => {
      const root = tree({ 'mallory.mjs': NAME });
      fs.symlinkSync(target, path.join(root, 'notes'));
      const [view] = viewsOf(readTree(root)).views;
      assert.deepEqual([...(view?.files.keys() ?? [])], ['mallory.mjs']);
    });

  test('may be linked within its folder, as Kubernetes does it', () => {
    const root = tree({});
    fs.mkdirSync(path.join(root, '..2026_01_01'));
    fs.writeFileSync(path.join(root, '..2026_01_01/mallory.mjs'), NAME);
    fs.symlinkSync('..2026_01_01', path.join(root, '..data'));
    fs.symlinkSync('..data/mallory.mjs', path.join(root, 'mallory.mjs'));
    assert.equal(viewsOf(readTree(root)).views[0]?.files.get('mallory.mjs')?.toString(), NAME);
  });
});

describe('a file that takes the name of another', () => {
  const KEY = 'sk-victim-Real0Key1With2Enough3Letters';
  const steals = (name: string): string => `${name}
if (process.env.VICTIM_KEY) console.error('stolen', process.env.VICTIM_KEY);
export const handler = () => 1;
`;
  const FILES: Readonly<Record<string, string>> = {
    'a second file of the name': steals(`export const WORKFLOW_NAME = 'victim';`),
    'a file that has the name in a comment': steals(
      `/*\nexport const WORKFLOW_NAME = 'victim';\n*/\nconst real = 'mallory'; export { real as WORKFLOW_NAME };`,
    ),
  };

  test('is a problem, and gets nothing of it, not even while it is looked at', async () => {
    await using world = await createHostWorld(
      {
        'a_victim.mjs': nodeWorkflow('victim'),
        ...Object.fromEntries(Object.values(FILES).map((text, i) => [`z_${i}.mjs`, text])),
        'z_later.mjs': `export const WORKFLOW_NAME = 'ma' + 'llory';\nexport const handler = () => 1;\n`,
      },
      { VICTIM_KEY: { value: KEY, principals: ['workflow:victim'] } },
    );
    assert.deepEqual(
      world.hosts.registry.list().map(({ name }) => name),
      ['victim'],
    );
    assert.equal(world.hosts.problems().length, 3);
    assert.equal((await world.run('victim', { code: `return process.env.VICTIM_KEY !== undefined` })).result, true);
    assert.deepEqual(
      world.logged.filter(({ message }) => message.includes('stolen')).map(({ message }) => message.slice(0, 20)),
      [],
    );
  });
});

describe('a worker that is killed', () => {
  const masterKey = randomBytes(32);
  const children: ChildProcess[] = [];
  after(() => children.forEach((child) => child.kill('SIGKILL')));

  test('leaves no sandbox and no live lease behind: the next one ends them', async () => {
    await using t = await createTestFirewall({ masterKey });
    const root = fs.mkdtempSync(path.join(tmpdir(), 'centaur-killed-'));
    fs.chmodSync(root, 0o755);
    const settings = {
      url: t.database.url,
      master: masterKey.toString('hex'),
      root,
      firewall: `127.0.0.1:${t.firewall.port}`,
      postgres: `127.0.0.1:${t.firewall.postgresPort}`,
    };
    fs.mkdirSync(path.join(root, 'workflows'));
    fs.writeFileSync(path.join(root, 'workflows/victim.mjs'), nodeWorkflow('victim'));
    const child = spawn(process.execPath, [WORKER, JSON.stringify(settings)], { stdio: ['ignore', 'pipe', 'inherit'] });
    children.push(child);
    const [said] = (await within(120, once(child.stdout, 'data'))) as [Buffer];
    assert.equal(said.toString().trim(), 'ready');
    const leases = async (): Promise<number> => {
      const { rows } = await t.store.query<{ n: number }>(
        `select count(*)::int as n from leases where principal = 'workflow:victim' and revoked_at is null and expires_at > now()`,
      );
      return rows[0]?.n ?? 0;
    };
    const backend = createLocalBackend({ stateDir: path.join(root, 'sandboxes'), memoryReserveMb: 64 });
    try {
      // the one that runs the workflow, and the one that is made ahead
      await eventually(async () => (await backend.list()).length === 2, { what: 'two sandboxes' });
      assert.equal(await leases(), 1);
      const gone = once(child, 'exit');
      child.kill('SIGKILL');
      await gone;
      const next = createSandboxedLauncher({
        backend,
        installation: t.installation,
        firewall: settings.firewall,
        postgres: settings.postgres,
        limits: LIMITS,
        python: PYTHON,
        stateDir: path.join(root, 'h'),
        log: () => undefined,
      });
      await eventually(async () => (await leases()) === 0, { what: 'the lease to end' });
      await eventually(async () => (await backend.list()).length === 0, { what: 'the sandboxes to end' });
      await next.close();
    } finally {
      await backend.shutdown();
      fs.rmSync(root, { recursive: true, force: true });
    }
  });
});
