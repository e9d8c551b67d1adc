import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { Command } from 'commander';
import { type Place, createPlace, type Finished } from '../test/support/cli.ts';
import { createTestDatabase, type TestDatabase } from '../test/support/database.ts';
import { eventually } from '../test/support/wait.ts';
import { createProgram } from './program.ts';

const KEY = 'the-operators-own-admin-key';

/** A run that needs an event, one that fails, and one that only counts. */
const WORKFLOWS = {
  'expense.ts': `
export const WORKFLOW_NAME = 'expense';
export const SCHEDULE = { type: 'cron', cron: '0 9 * * 1-5', timezone: 'Europe/Berlin' };
export async function handler(input, ctx) {
  await ctx.step('ask', () => input?.amount ?? 0);
  const decision = await ctx.waitForEvent('decision', { eventType: 'decided' });
  return { amount: input?.amount ?? 0, decision };
}`,
  'fails.ts': `
export const WORKFLOW_NAME = 'fails';
export async function handler(input, ctx) {
  await ctx.step('first', () => 1);
  await ctx.step('second', () => { if (!input?.mended) throw new Error('no luck'); });
  return 'mended';
}`,
  'echo.ts': `
export const WORKFLOW_NAME = 'echo';
export const QUEUE = 'echoes';
export async function handler(input, ctx) { return ctx.step('echo', () => input); }`,
};

let database: TestDatabase;
let place: Place;

before(async () => {
  database = await createTestDatabase();
  place = createPlace({ DATABASE_URL: database.url, CENTAUR_API_KEY: KEY });
  for (const [name, source] of Object.entries(WORKFLOWS)) place.write(name, source);
  await place.serve('up');
});

after(async () => {
  await place[Symbol.asyncDispose]();
  await database.drop();
});

const json = ({ stdout }: Finished) => JSON.parse(stdout);
const start = async (...args: string[]) => (await place.run(['run', ...args])).stdout.trim();
const statusOf = async (run: string) => json(await place.run(['runs', 'show', run, '--json'])).status;

test('a run’s id is all that goes to stdout, so that a script can keep it', async () => {
  const { code, stdout } = await place.run(['run', 'echo', '{"a": 1}']);
  assert.equal(code, 0);
  assert.match(stdout, /^[0-9a-f-]{36}\n$/);
});

test('a run that is waited for puts its result on stdout and its progress on stderr', async () => {
  const { code, stdout, stderr } = await place.run(['run', 'echo', '{"a": 1}', '--wait']);
  assert.deepEqual([code, JSON.parse(stdout)], [0, { a: 1 }]);
  assert.match(stderr, /^started echo \S+\n(?:.*\n)*✔ echo \d+ ms\n(?:.*\n)*completed in \d+/);
  assert.ok(!stderr.includes('\x1b'), 'colours go to terminals only');
});

test('a run that is waited for and fails is exit code 1 and says why', async () => {
  const { code, stdout, stderr } = await place.run(['run', 'fails', '--wait']);
  assert.deepEqual([code, stdout], [1, '']);
  assert.match(stderr, /✖ second \d+ ms: no luck\n(?:.*\n)*failed in .*no luck/);
});

test('a run that is waited for as JSON prints the run and nothing else', async () => {
  const done = await place.run(['run', 'echo', '"x"', '--wait', '--json']);
  assert.deepEqual([done.code, done.stderr, json(done).status, json(done).result], [0, '', 'completed', 'x']);
});

test('the input is read from a file or from stdin too', async () => {
  const file = place.write('input.json', '{"from": "file"}');
  assert.deepEqual(json(await place.run(['run', 'echo', `@${file}`, '--wait'])), { from: 'file' });
  assert.deepEqual(json(await place.run(['run', 'echo', '-', '--wait'], { stdin: '{"from": "stdin"}' })), { from: 'stdin' });
});

test('the options of a start reach the run', async () => {
  const options = ['--trigger-key', 't1', '--queue', 'slow', '--priority', '-7', '--key', 'ann', '--run-at', '2999-01-01T00:00:00Z'];
  const id = await start('echo', '1', ...options);
  const run = json(await place.run(['runs', 'show', id, '--json']));
  assert.deepEqual(
    [run.trigger_key, run.queue, run.priority, run.concurrency_key, run.run_at],
    ['t1', 'slow', -7, 'ann', '2999-01-01T00:00:00.000Z'],
  );
  assert.equal(await start('echo', '1', ...options), id, 'the same trigger key answers with the first run');
  const mismatch = await place.run(['run', 'echo', '2', '--trigger-key', 't1']);
  assert.deepEqual([mismatch.code, /another input/.test(mismatch.stderr)], [1, true]);
});

test('an event lets a waiting run go on, and a tail tells what happened', async () => {
  const id = await start('expense', '{"amount": 5}');
  await eventually(async () => /waiting/.test(await statusOf(id)));
  const shown = await place.run(['runs', 'show', id]);
  assert.match(shown.stdout, /waiting +decision: waiting for event decided of /);
  assert.match(shown.stdout, /0 +ask +step +completed/);
  const emit = (payload: string) => place.run(['events', 'emit', 'decided', id, payload, '--event-key', 'decided-1']);
  assert.match((await emit('{"ok": true}')).stdout, /^stored/);
  assert.match((await emit('{"ok": true}')).stdout, /^known/);
  assert.match((await emit('{"ok": false}')).stderr, /event_key: "decided-1" has sent the event .* with another/);
  const tail = await place.run(['runs', 'tail', id]);
  assert.equal(tail.code, 0);
  assert.match(tail.stdout, /✔ ask .*\n(?:.*\n)*✔ decision event, .*\n(?:.*\n)*completed in/);
  const lines = (await place.run(['runs', 'tail', id, '--json'])).stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  assert.deepEqual(
    [lines[0].event, lines.at(-1).event, lines.at(-1).data.result.decision],
    ['step.completed', 'run.completed', { ok: true }],
  );
});

test('a failed run is retried, and forked with another input', async () => {
  const id = await start('fails');
  assert.equal((await place.run(['runs', 'tail', id])).code, 1);
  assert.match((await place.run(['runs', 'retry', id])).stdout, /as attempt 2/);
  const fork = (await place.run(['runs', 'fork', id, '--from', 'second', '--input', '{"mended": true}'])).stdout.trim();
  assert.equal((await place.run(['runs', 'tail', fork])).code, 0);
  const byNumber = (await place.run(['runs', 'fork', id, '--from', '1', '--input', '{"mended": true}', '--json'])).stdout;
  assert.equal(JSON.parse(byNumber).created, true);
  const missing = await place.run(['runs', 'fork', id, '--from', 'nope']);
  assert.equal(missing.code, 5);
});

test('a run is cancelled once', async () => {
  const id = await start('expense');
  assert.match((await place.run(['runs', 'cancel', id])).stdout, new RegExp(`cancelled ${id}`));
  const again = await place.run(['runs', 'cancel', id]);
  assert.deepEqual([again.code, /already ended/.test(again.stderr)], [1, true]);
});

test('an interrupt stops the waiting and not the run', async () => {
  const waiting = place.start(['run', 'expense', '--wait']);
  const id = await eventually(() => /started expense (\S+)/.exec(waiting.output.stderr)?.[1]);
  await eventually(() => waiting.output.stderr.includes('waiting for event'));
  waiting.child.kill('SIGINT');
  const { code, stdout, stderr } = await waiting.finished;
  assert.deepEqual([code, stdout], [130, '']);
  assert.match(stderr, /the run goes on; follow it with: centaur runs tail/);
  assert.notEqual(await statusOf(id), 'cancelled');
});

test('runs are listed by workflow and status, page by page', async () => {
  const ids = [await start('echo', '1'), await start('echo', '2')];
  await Promise.all(ids.map((id) => place.run(['runs', 'tail', id])));
  const first = json(await place.run(['runs', 'ls', '--workflow', 'echo', '--status', 'completed', '--limit', '1', '--json']));
  const second = json(
    await place.run(['runs', 'ls', '--workflow', 'echo', '--status', 'completed', '--limit', '1', '--after', first.next, '--json']),
  );
  assert.deepEqual([first.items[0].run_id, second.items[0].run_id], ids.toReversed());
  const shown = await place.run(['runs', 'ls', '--limit', '1']);
  assert.match(shown.stdout, /^RUN +WORKFLOW +STATUS/);
  assert.match(shown.stderr, /more: --after/);
});

test('workflows and schedules are listed', async () => {
  assert.match((await place.run(['workflows', 'ls'])).stdout, /^expense +[0-9a-f]{16} +default +1 +\/.*expense\.ts$/m);
  assert.deepEqual(
    json(await place.run(['workflows', 'ls', '--json'])).items.map((each: { name: string }) => each.name),
    ['echo', 'expense', 'fails'],
  );
  const schedules = await place.run(['schedules', 'ls']);
  assert.match(schedules.stdout, /^expense +at 09:00, Monday to Friday, Europe\/Berlin +20\d\d-.*\(in /m);
  assert.equal(json(await place.run(['schedules', 'ls', '--json'])).items[0].spec.cron, '0 9 * * 1-5');
});

test('queues are limited, and one limit is lifted without the others', async () => {
  await place.run(['queues', 'set', 'mail', '--concurrency', '5', '--per-key', '1', '--rate', '100/1m']);
  const set = json(await place.run(['queues', 'set', 'mail', '--concurrency', 'none', '--json']));
  assert.deepEqual([set.concurrency, set.concurrency_per_key, set.rate_limit], [null, 1, { limit: 100, period_ms: 60_000 }]);
  assert.match((await place.run(['queues', 'ls'])).stdout, /^mail +0 +0 +- +1 +100 in 1 min$/m);
});

test('a key is made, used within its scope, and revoked', async () => {
  const made = await place.run(['keys', 'create', 'reader', '--scope', 'workflows.read', '--scope', 'events.emit']);
  const key = made.stdout.trim();
  assert.match(key, /^ck_[0-9a-f]{8}_\S{43}$/);
  const id = key.slice(0, 11);
  const env = { CENTAUR_API_KEY: key };
  assert.equal((await place.run(['runs', 'ls'], { env })).code, 0);
  const refused = await place.run(['run', 'echo'], { env });
  assert.deepEqual([refused.code, /needs the scope "workflows:\*"/.test(refused.stderr)], [4, true]);
  assert.match((await place.run(['keys', 'ls'])).stdout, new RegExp(`^${id} +reader +workflows.read, events.emit +.* active$`, 'm'));
  assert.match((await place.run(['keys', 'revoke', id])).stdout, new RegExp(`revoked ${id} \\(reader\\)`));
  await eventually(async () => (await place.run(['runs', 'ls'], { env })).code === 4);
});

test('the exit code says what went wrong', async () => {
  const nowhere = { CENTAUR_API_URL: 'http://127.0.0.1:9' };
  const expected: [number, string[], RegExp, Record<string, string>?][] = [
    [2, [], /Usage: centaur/],
    [2, ['runz'], /unknown command 'runz'\n\(Did you mean/],
    [2, ['run'], /missing required argument 'workflow'/],
    [2, ['run', 'echo', '{a: 1}'], /input: not JSON.*quote it/],
    [2, ['run', 'echo', '@missing.json'], /cannot read missing\.json/],
    [2, ['run', 'echo', '--priority', '101'], /whole number from -100 to 100/],
    [2, ['runs', 'ls', '--status', 'done'], /Allowed choices are queued/],
    [2, ['runs', 'fork', 'x'], /--from/],
    [2, ['queues', 'set', 'mail'], /nothing to set/],
    [2, ['queues', 'set', 'mail', '--rate', 'fast'], /such as 100\/1m/],
    [2, ['runs', 'ls'], /PORT: expected a whole number/, { PORT: 'high', CENTAUR_API_URL: '' }],
    [1, ['run', 'echo', '--run-at', 'tomorrow'], /run_at: expected an RFC 3339 time/],
    [1, ['queues', 'set', 'no spaces', '--concurrency', '1'], /queue: expected/],
    [1, ['keys', 'create', 'x', '--scope', 'root'], /expected admin, workflows/],
    [3, ['runs', 'ls'], /no answer from http:\/\/127\.0\.0\.1:9.*\nIs it running\?/, nowhere],
    [3, ['keys', 'ls'], /no answer from/, nowhere],
    [4, ['runs', 'ls'], /not known here/, { CENTAUR_API_KEY: 'another-key-of-somebody' }],
    [4, ['runs', 'ls'], /needs an API key.*\nSet CENTAUR_API_KEY/, { CENTAUR_API_KEY: '' }],
    [5, ['run', 'ecko'], /did you mean echo/],
    [5, ['runs', 'show', 'nope'], /does not exist/],
    [5, ['runs', 'tail', '0198c0de-0000-7000-8000-000000000000'], /does not exist/],
    [5, ['keys', 'revoke', 'ck_00000000'], /there is no API key/],
  ];
  for (const [code, args, message, env] of expected) {
    const { code: found, stdout, stderr } = await place.run(args, env === undefined ? {} : { env });
    assert.deepEqual([found, stdout], [code, ''], `${args.join(' ')}: ${stderr}`);
    assert.match(stderr, message);
    assert.ok(!stderr.includes('    at '), 'a stack is of no help here');
  }
});

test('an error is JSON where JSON was asked for', async () => {
  const { code, stderr } = await place.run(['runs', 'show', 'nope', '--json']);
  assert.deepEqual([code, JSON.parse(stderr).code], [5, 'RUN_NOT_FOUND']);
});

test('every command has help with an example', async () => {
  const program = createProgram();
  assert.ok(program.commands.length >= 10);
  const check = (command: Command, names: string): void => {
    assert.match(helpOf(command), new RegExp(`\\nExamples?:\\n {2}\\$ .*centaur ${names}`), names);
    for (const inner of command.commands) check(inner, `${names} ${inner.name()}`);
  };
  for (const group of program.commands) check(group, group.name());
  // and it is what the binary prints
  const [all, fork] = await Promise.all([place.run(['--help']), place.run(['runs', 'fork', '--help'])]);
  assert.deepEqual([all.code, all.stdout], [0, helpOf(program)]);
  const runs = program.commands.find((each) => each.name() === 'runs');
  assert.equal(fork.stdout, helpOf(runs?.commands.find((each) => each.name() === 'fork') ?? program));
});

function helpOf(command: Command): string {
  let text = '';
  command.configureOutput({ writeOut: (part) => (text += part) }).outputHelp();
  return text;
}

test('the doctor finds nothing wrong here, and tells a wrong key', async () => {
  // with the demo, a machine without any other harness lacks nothing
  const port = { PORT: new URL(place.env['CENTAUR_API_URL'] ?? '').port, CENTAUR_DEMO: '1' };
  const { code, stdout } = await place.run(['doctor'], { env: port });
  assert.equal(code, 0, stdout);
  const found = new Set([...stdout.matchAll(/^(ok|warn|fail) +(\w+)/gm)].map((match) => `${match[1]} ${match[2]}`));
  const ofMachine = ['Harness', 'Sandboxes'];
  assert.deepEqual(
    [...found].filter((line) => !ofMachine.includes(line.split(' ')[1] ?? '')),
    ['Node', 'Settings', 'Postgres', 'LISTEN', 'Clock', 'Tables', 'Master', 'CA', 'Firewall', 'Workflows', 'Port', 'API', 'Key'].map(
      (name) => `ok ${name}`,
    ),
  );
  const wrong = await place.run(['doctor', '--json'], { env: { ...port, CENTAUR_API_KEY: 'another-key-of-somebody' } });
  assert.deepEqual([wrong.code, json(wrong).at(-1).status, json(wrong).at(-1).name], [1, 'fail', 'Key']);
});
