import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { createTestEngine } from '../../test/support/engine.ts';
import { startOtlpServer } from '../../test/support/otlp.ts';
import { eventually } from '../../test/support/wait.ts';

test('exporters that are killed at any moment lose no span between them', async () => {
  await using t = await createTestEngine();
  await using server = await startOtlpServer();
  t.registry.define('a', async (_, ctx) => {
    await ctx.step('one', () => 1);
    await ctx.step('two', () => 2);
  });
  const start = async () => {
    const child = spawn(process.execPath, [new URL('../../test/support/trace-exporter.ts', import.meta.url).pathname], {
      env: { ...process.env, DATABASE_URL: t.database.url, OTLP_URL: server.url },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await once(child.stdout, 'data');
    return child;
  };
  let child = await start();
  await eventually(async () => (await t.store.query('select 1 from trace_exports')).rowCount === 1, { what: 'the cursor' });
  // each answer takes a while, so that kills fall before, during and after it
  server.answer = () => new Promise((resolve) => setTimeout(resolve, Math.random() * 60, true));
  const runs: string[] = [];
  for (let kill = 0; kill < 10; kill++) {
    const asked = server.requests.length;
    for (let i = 0; i < 30; i++) runs.push((await t.engine.start({ workflow_name: 'a' })).run_id);
    // every other one while it sends, or just after that: on a busy machine it would never come to it
    if (kill % 2 === 1) await eventually(() => server.requests.length > asked, { what: 'a request' });
    await new Promise((resolve) => setTimeout(resolve, Math.random() * (kill % 2 === 1 ? 60 : 1500)));
    child.kill('SIGKILL');
    await once(child, 'exit');
    child = await start();
  }
  for (const run of runs) await t.ended(run);
  const whole = (run: string) => new Set(server.spans.filter((span) => span.traceId === run.replaceAll('-', '')).map((span) => span.name));
  await eventually(() => runs.every((run) => ['invoke_workflow a', 'step one', 'step two'].every((name) => whole(run).has(name))), {
    what: 'each span of each run',
  });
  child.kill('SIGKILL');
  await once(child, 'exit');
});
