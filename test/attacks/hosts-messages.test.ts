/** A malicious workflow that speaks past its host program: what it says on its own line is its own affair, and never the worker's. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { watchStandstill } from '../support/effort.ts';
import type { RunDetail } from '../../kernel/engine/index.ts';
import { createHostWorld, type HostWorld, nodeWorkflow } from '../support/hosts.ts';
import { eventually } from '../support/wait.ts';

/** Says so after it has said what it should not, unless the worker has ended it by then. */
const REST = `; await new Promise((later) => setTimeout(later, 200)); return 'done'`;
/** Of a run that is to come to its end by itself, however busy the machine is. */
const TO_ITS_END_MS = 180_000;
const ask = (fields: string): string => `say({ run_id: ctx.runId, request_id: '1', rest: true, taken: 1, ${fields} })`;
const tell = (fields: string): string => `say({ run_id: ctx.runId, rest: true, taken: 1, ${fields} })`;

/** Whatever each does to the run that says it: the worker goes on, others run, and lists can be read. */
const SAID: Readonly<Record<string, string>> = {
  'a patch without an id': tell(`type: 'ctx.patch'`),
  'a patch with a zero in its id': tell(`type: 'ctx.patch', id: 'a\\0b'`),
  'a patch with an id of a megabyte': tell(`type: 'ctx.patch', id: 'x'.repeat(1e6)`),
  'a log line that cannot be made a text': tell(`type: 'ctx.log', message: { toString: 1 }, fields: {}`),
  'a log line with fields 100,000 levels deep': `say('{"type":"ctx.log","run_id":"' + ctx.runId + '","message":"x","rest":true,"taken":1,"fields":{"a":' + '['.repeat(1e5) + ']'.repeat(1e5) + '}}')`,
  'a log line with fields of the prototype': `say('{"type":"ctx.log","run_id":"' + ctx.runId + '","message":"x","rest":true,"taken":1,"fields":{"__proto__":{"polluted":1},"constructor":1,"level":"fatal"}}')`,
  'a metric whose kind cannot be made a text': tell(`type: 'ctx.metric', kind: { toString: 1 }, name: 'x', value: 1`),
  'a metric whose value cannot be made a number': tell(
    `type: 'ctx.metric', kind: 'counter', name: 'x', value: { valueOf: 1, toString: 1 }`,
  ),
  'a metric whose labels are no object': tell(`type: 'ctx.metric', kind: 'counter', name: 'x', value: 1, labels: 'x'`),
  'a complaint that cannot be made a text': `say({ type: 'host.error', message: { toString: 1 } })`,
  'an error that cannot be made a text': tell(`type: 'workflow.error', message: { toString: 1 }`),
  'an error whose name cannot be made a text': tell(`type: 'workflow.error', message: 'x', error: { name: { toString: 1 }, code: {} }`),
  'an error whose trace cannot be made a text': tell(`type: 'workflow.error', message: 'x', traceback: { toString: 1 }`),
  'an error of a call that was never made': tell(
    `type: 'workflow.error', message: 'x', error: { name: 'E', code: 'C', message: 'x', request_id: '__proto__' }`,
  ),
  'a result 100,000 levels deep': `say('{"type":"workflow.result","run_id":"' + ctx.runId + '","result":' + '['.repeat(1e5) + ']'.repeat(1e5) + '}')`,
  'a line 100,000 levels deep that is no message': `say('['.repeat(1e5) + ']'.repeat(1e5))`,
  'lines that are no messages': `say('null', '7', '"x"', '[]', '{}', '{"type":7}', '{"type":null,"run_id":{}}', 'x', '{', '\\ud800', '')`,
  'types and runs named as in the prototype': `for (const name of ['__proto__', 'constructor', 'toString']) say({ type: name, run_id: name }, { type: name, run_id: ctx.runId, request_id: name, rest: true })`,
  'a call without anything': ask(`type: 'ctx.step.get'`),
  'a call of a kind that is not': ask(`type: 'ctx.exec', command: 'true'`),
  'a call without a number': tell(`type: 'ctx.sleep', step: 's', duration_seconds: 1`),
  'one number for five calls': `for (let i = 0; i < 5; i++) ${ask(`type: 'ctx.step.put', step: 's' + i, value: i`)}`,
  'a step of two megabytes': ask(`type: 'ctx.step.put', step: 's', value: 'x'.repeat(2e6)`),
  'a step named with ten megabytes': ask(`type: 'ctx.step.put', step: 's'.repeat(1e7), value: 1`),
  'a step named with a zero': ask(`type: 'ctx.step.put', step: 'a\\0', value: 1`),
  'a step with zeros and half characters': ask(`type: 'ctx.step.put', step: 's\\ud800', value: ['\\0', '\\ud800']`),
  'a step that failed with zeros': ask(`type: 'ctx.step.fail', step: 's', error: { name: '\\0', code: '\\0\\ud800', message: '\\0' }`),
  'a step 100,000 levels deep': `say('{"type":"ctx.step.put","run_id":"' + ctx.runId + '","request_id":"1","step":"s","rest":true,"taken":1,"value":' + '['.repeat(1e5) + ']'.repeat(1e5) + '}')`,
  'an answer for a step that is not open': ask(`type: 'ctx.step.put', checkpoint_name: 'before', value: 'forged'`),
  'retries without end': ask(
    `type: 'ctx.step.fail', step: 's', error: { name: 'E', code: 'C', message: 'x' }, retry: { max_attempts: 1e308, delay_ms: 1e308, factor: -1e308, backoff: 'exponential', max_delay_ms: 1e308, non_retryable: '__proto__' }`,
  ),
  'a sleep of less than nothing': ask(`type: 'ctx.sleep', step: 's', duration_seconds: -1`),
  'a sleep of no number': ask(`type: 'ctx.sleep', step: 's', duration_seconds: 'NaN'`),
  'a sleep of 1e308 seconds': ask(`type: 'ctx.sleep', step: 's', duration_seconds: 1e308`),
  'a sleep of 1e300 seconds': ask(`type: 'ctx.sleep', step: 's', duration_seconds: 1e300`),
  'a step with a time limit of 1e308': ask(`type: 'ctx.step.get', step: 's', timeout_ms: 1e308`),
  'a sleep until the year -271821': ask(`type: 'ctx.sleep_until', step: 's', wake_at: '-271821-04-20T00:00:00Z'`),
  'a sleep until the year 999999': ask(`type: 'ctx.sleep_until', step: 's', wake_at: '+999999-01-01T00:00:00Z'`),
  'a wait of 1e300 seconds': ask(`type: 'ctx.event.wait', step: 's', event_type: 'x', timeout_seconds: 1e300`),
  'a wait for what the engine tells itself': ask(`type: 'ctx.event.wait', step: 's', event_type: '$run', correlation_id: 'x'`),
  'a wait for an event with a zero': ask(`type: 'ctx.event.wait', step: 's', event_type: 'a\\0', correlation_id: '\\0'`),
  'a wait for a run that is no run': ask(`type: 'ctx.workflow.wait', step: 's', child_run_id: "x'; drop table workers; --"`),
  'a wait for itself': ask(`type: 'ctx.workflow.wait', step: 's', child_run_id: ctx.runId`),
  'a child whose name has ten megabytes': ask(`type: 'ctx.workflow.start', step: 's', workflow_name: 'x'.repeat(1e7)`),
  'a child with zeros in its keys': `${ask(`type: 'ctx.workflow.start', step: 's', workflow_name: 'victim', concurrency_key: 'a\\0'`)}; ${ask(`type: 'ctx.workflow.start', step: 't', workflow_name: 'victim', idempotency_key: 'a\\0'`)}`,
  'agents named as in the prototype': ask(
    `type: 'ctx.run_agents', agents: [{ name: '__proto__', harness: '__proto__', effort: 'constructor' }], max_concurrency: -1e308`,
  ),
  'lies about what it has taken': `say(...[1e308, -1e308, '9', null, {}, 0.5].map((taken) => ({ type: 'ctx.rest', run_id: ctx.runId, rest: true, taken })))`,
  'discoveries that nobody asked for': `say({ type: 'workflow.discovery', protocol: 1, workflows: [{ workflow_name: 'victim', schedule: '* * * * *', webhooks: [{ spec: { slug: 'victim' } }] }], problems: [] })`,
  'pongs that nobody asked for, and answers to itself': `say({ type: 'host.pong', id: '9' }, { type: 'host.ping', id: '1' }, { type: 'ctx.response', run_id: ctx.runId, request_id: '1', ok: true }, { type: 'workflow.start', run_id: ctx.runId }, { type: 'host.lease', until: 1e308 })`,
  'a sleep until the year 275760': ask(`type: 'ctx.sleep_until', step: 's', wake_at: '+275760-09-13T00:00:00Z'`),
  'a child in the year 9999, at the edge of a zone': ask(
    `type: 'ctx.workflow.start', step: 's', workflow_name: 'victim', input: {}, run_at: '9999-12-31T23:59:59-23:59'`,
  ),
};

describe('what a malicious workflow says', { timeout: 600_000 }, () => {
  let world: HostWorld;
  const thrown: Error[] = [];
  const standstill = watchStandstill();
  before(async () => {
    world = await createHostWorld({ 'victim.mjs': nodeWorkflow('victim'), 'mallory.mjs': nodeWorkflow('mallory') });
    // each is told apart, instead of the first ending them all, as it would end the server
    process.setUncaughtExceptionCaptureCallback((error) => void thrown.push(error));
    for (const workflow of ['victim', 'mallory']) await world.run(workflow, { code: 'return 1' });
  });
  after(async () => {
    process.setUncaughtExceptionCaptureCallback(null);
    standstill[Symbol.dispose]();
    await world[Symbol.asyncDispose]();
  });

  async function said(code: string, ms = 1500): Promise<RunDetail> {
    thrown.length = 0;
    standstill.reset();
    const attack = world.run('mallory', { code: code + REST }, ms);
    const [victim, run] = await Promise.all([world.run('victim', { code: `return ctx.step('own', () => 'own')` }), attack]);
    assert.deepEqual([victim.status, victim.result], ['completed', 'own']);
    assert.deepEqual(thrown, [], 'it was thrown where nobody catches it: the server ends');
    assert.ok((await world.engine.listRuns({})).items.some(({ run_id: id }) => id === run.run_id));
    assert.ok(standstill.most() < 1000, `the worker stood still for ${Math.round(standstill.most())} ms`);
    return run;
  }

  test('on behalf of another run is not heard: what is heard is of its own', async () => {
    const { run_id: hers } = await world.engine.start({
      workflow_name: 'victim',
      input: {
        code: `const event = await ctx.waitForEvent('go', { eventType: 'go', correlationId: 'v' }); return [event, await ctx.step('after', () => 'own')]`,
      },
    });
    await eventually(async () => (await world.engine.getRun(hers)).steps.length === 1);
    const forged = (id: string): string => `for (const each of [
      { type: 'ctx.log', message: 'forged-line', fields: { run_id: '${hers}', workflow_name: 'victim' } }, { type: 'ctx.metric', kind: 'counter', name: 'forged', value: 1, labels: { workflow: 'victim' } }, { type: 'ctx.patch', id: 'forged' },
      { type: 'ctx.step.put', request_id: '7', step: 'forged', value: 'forged' }, { type: 'ctx.step.put', request_id: '1', checkpoint_name: 'go', value: 'forged' }, { type: 'ctx.step.fail', request_id: '1', checkpoint_name: 'go', error: {} },
      { type: 'workflow.input', request_id: '1', ok: true, concurrency_key: 'forged' }, { type: 'workflow.error', message: 'forged' }, { type: 'workflow.result', result: 'forged', workflow_name: 'victim' },
    ]) say({ ...each, run_id: ${id}, workflow_run_id: '${hers}', task_id: '${hers}', workflow_task_id: '${hers}', rest: true, taken: 9 })`;
    assert.equal((await said(forged(`'${hers}'`), TO_ITS_END_MS)).result, 'done');
    assert.ok(!JSON.stringify([world.logged, world.metrics]).includes('forged'));
    const own = await said(forged('ctx.runId'), TO_ITS_END_MS);
    assert.ok(own.status === 'failed' && own.error?.message === 'forged', JSON.stringify(own.error));
    const line = world.logged.find(({ message }) => message === 'forged-line');
    assert.deepEqual([line?.['workflow_name'], line?.['run_id']], ['mallory', own.run_id]);
    assert.deepEqual(
      world.metrics.map((metric) => (metric as { workflow: string }).workflow),
      ['mallory'],
    );
    await world.engine.emitEvent({ event_type: 'go', correlation_id: 'v', payload: 'sent' });
    const run = await world.ended(hers);
    assert.deepEqual(
      [run.result, run.steps.map(({ name }) => name)],
      [
        ['sent', 'own'],
        ['go', 'after'],
      ],
    );
  });

  test('by a notification in the database cancels no run of another: the row decides', async () => {
    const { run_id: hers } = await world.engine.start({
      workflow_name: 'victim',
      input: { code: `await new Promise((later) => setTimeout(later, 3000)); return 'own'` },
    });
    await eventually(async () => (await world.engine.getRun(hers)).status === 'running');
    const { worker_id: worker } = world.engine.stats();
    for (const payload of [`cancel:${hers}`, hers, '', 'cancel:', `cancel:${'x'.repeat(7000)}`])
      await world.t.store.query('select pg_notify($1, $2)', [`centaur_worker_${worker}`, payload]);
    const run = await world.ended(hers);
    assert.deepEqual([run.status, run.result], ['completed', 'own']);
    const { run_id: another } = await world.engine.start({ workflow_name: 'victim', input: { code: 'await new Promise(() => {})' } });
    await eventually(async () => (await world.engine.getRun(another)).status === 'running');
    await world.engine.cancelRun(another);
    assert.equal((await world.ended(another)).status, 'cancelled');
  });

  for (const [what, code] of Object.entries(SAID)) test(`harms nobody else: ${what}`, async () => void (await said(code)));

  test('pollutes nothing', () => {
    assert.equal(({} as { polluted?: number }).polluted, undefined);
    assert.ok(!world.logged.some(({ level }) => !['debug', 'info', 'warn', 'error'].includes(level)));
  });
});
