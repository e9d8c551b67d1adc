/** The demo harness as a real process against the scripted model server: every scenario, and what is its own. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { readDemoProgram, type HarnessEvent } from '../../runtime/harness/index.ts';
import type { Driven, Installed } from './drive.ts';
import { eventually } from '../support/wait.ts';
import { SCENARIOS, createLab, type Lab } from './scenarios.ts';

const folder = mkdtempSync(join(tmpdir(), 'centaur-demo-'));
after(() => rmSync(folder, { recursive: true, maxRetries: 10 }));
const program = join(folder, 'demo.mjs');
writeFileSync(program, readDemoProgram());
const demo: Installed = { kind: 'demo', command: [process.execPath], model: 'scripted', patienceMs: 60_000 };

const inLab = async (run: (lab: Lab) => Promise<void>): Promise<void> => {
  const lab = await createLab(demo);
  const start = lab.start;
  const started: Lab = { ...lab, start: (options, place) => start({ program, ...options }, place) };
  try {
    await run(started);
  } catch (error) {
    await lab.close().catch(() => undefined);
    throw error;
  }
  await lab.close();
};

for (const scenario of SCENARIOS) test(`demo: ${scenario.name}`, () => inLab(scenario.run));

const statuses = ({ events }: Driven) => events.flatMap((event) => (event.type === 'status' ? [event] : []));
const resultOf = (event: Extract<HarnessEvent, { type: 'tool_result' }>) => JSON.stringify(event.content);

test('a request that fails before the first delta is tried again, and what comes after it goes on', () =>
  inLab(async (lab) => {
    const agent = await lab.start();
    agent.turn('error: 529 2\nsay: at last');
    assert.equal((await agent.end()).result_text, 'at last');
    assert.deepEqual(
      statuses(agent).map(({ status, attempt, http }) => [status, attempt, http]),
      [
        ['requesting', undefined, undefined],
        ['retrying', 1, 529],
        ['requesting', undefined, undefined],
        ['retrying', 2, 529],
        ['requesting', undefined, undefined],
      ],
    );
  }));

test('a request that is refused is not tried again', () =>
  inLab(async (lab) => {
    const agent = await lab.start();
    agent.turn('error: 403');
    assert.equal((await agent.end()).status, 'failed');
    assert.equal((await agent.see('error')).class, 'policy');
    assert.equal(lab.server.requests.length, 1);
  }));

test('a model that cannot be reached fails the turn, with the reason', () =>
  inLab(async (lab) => {
    const agent = await lab.start({ upstream: { placeholder: 'placeholder-key', baseUrl: 'http://127.0.0.1:2' } });
    agent.turn('say: hello');
    assert.match((await agent.end()).error ?? '', /could not be reached.*ECONNREFUSED/);
    assert.equal((await agent.see('error')).class, 'network');
  }));

test('an interrupt is answered at once: in a text, in a tool, while it waits to try again, and while it asks', () =>
  inLab(async (lab) => {
    const agent = await lab.start({ approvals: 'ask' });
    const cases: [string, () => Promise<unknown>][] = [
      ['slow: 3000', () => agent.see('text.delta')],
      ['error: 500', () => agent.see('status', ({ status }) => status === 'retrying')],
      ['run: sleep 300', () => agent.see('approval.request')],
      [
        'run: echo begun; sleep 300',
        () => agent.see('approval.request').then(({ id }) => (agent.answer(id, { allow: true }), agent.see('tool_output.delta'))),
      ],
    ];
    for (const [prompt, reached] of cases) {
      agent.turn(prompt);
      await reached();
      const began = performance.now();
      agent.interrupt();
      assert.equal((await agent.end()).status, 'interrupted', prompt);
      // each would go on for minutes, but for the one that tries again
      assert.ok(performance.now() - began < 20_000, `${prompt}: ${performance.now() - began} ms`);
    }
  }));

test('what a command leaves in the background ends with it', () =>
  inLab(async (lab) => {
    const agent = await lab.start();
    const left = `sleep 3141.${process.pid}`;
    agent.turn(`run: ${left} & echo started`);
    await agent.end();
    // it is told to end before the turn does, and is gone a moment later
    await eventually(() => {
      const { stdout } = spawnSync('ps', ['-axo', 'args'], { encoding: 'utf8' });
      return !stdout.split('\n').some((line) => line.trim() === left);
    });
  }));

test('the input that was approved is what runs', () =>
  inLab(async (lab) => {
    const agent = await lab.start({ approvals: 'ask' });
    agent.turn('run: echo asked for');
    const { id } = await agent.see('approval.request');
    agent.answer(id, { allow: true, input: { command: 'echo allowed instead' } });
    assert.match((await agent.end()).result_text, /allowed instead/);
  }));

test('it reads and writes files, and an exit code is told', () =>
  inLab(async (lab) => {
    const agent = await lab.start();
    agent.turn('tool: write {"path":"notes/a.txt","content":"one\\ntwo\\nthree"}\ntool: read {"path":"notes/a.txt","offset":2,"limit":1}');
    assert.match((await agent.end()).result_text, /^The tool said:\ntwo$/);
    assert.equal(readFileSync(join(lab.place.cwd, 'notes/a.txt'), 'utf8'), 'one\ntwo\nthree');
    agent.turn('tool: read {"path":"/dev/zero"}\ntool: read {"path":"missing"}\nrun: echo out; echo err >&2; exit 3');
    await agent.end();
    const [device, missing, failed] = agent.events.flatMap((event) => (event.type === 'tool_result' ? [event] : [])).slice(-3);
    assert.ok(device?.is_error && /not a file/.test(resultOf(device)));
    assert.ok(missing?.is_error && /ENOENT/.test(resultOf(missing)));
    assert.ok(failed?.is_error && failed.exit_code === 3);
    assert.match(resultOf(failed), /out.*err.*exit code 3/s);
  }));

test('a big output is shortened, for the model and in the stream', () =>
  inLab(async (lab) => {
    const agent = await lab.start();
    agent.turn('run: echo first; yes filler | head -c 3000000; echo last\nsay: done');
    assert.equal((await agent.end()).result_text, 'done');
    const result = resultOf(await agent.see('tool_result'));
    assert.ok(result.length < 90_000 && result.length > 50_000, `${result.length}`);
    assert.match(result, /first.*characters left out.*last/s);
    const streamed = agent.events.flatMap((event) => (event.type === 'tool_output.delta' ? [event.text] : [])).join('');
    assert.ok(streamed.length < 400_000, `${streamed.length}`);
  }));

test('lines that are no commands are told, and change nothing', () =>
  inLab(async (lab) => {
    const child = spawn(process.execPath, [program], { env: { HOME: lab.place.home, PATH: process.env.PATH } });
    let written = '';
    child.stdout.on('data', (data: Buffer) => (written += data.toString()));
    child.stdin.end(
      '\n{"type":\n[]\n{"type":"user"}\n{"type":"user","content":[{"type":"tool_use"}]}\n{"type":"interrupt"}\n{"type":"approval","id":"x"}\n',
    );
    assert.equal(await new Promise((resolve) => child.on('close', resolve)), 0);
    const types = written
      .trim()
      .split('\n')
      .map((line) => (JSON.parse(line) as HarnessEvent).type);
    assert.deepEqual(types, ['session', 'notice', 'notice', 'notice', 'notice']);
  }));

test('a session that is not there is an error, and no agent', () =>
  inLab(async (lab) => {
    for (const id of ['no-such-session', '../../etc/passwd']) {
      const { status, stdout } = spawnSync(process.execPath, [program, '--resume', id], {
        env: { HOME: lab.place.home },
        encoding: 'utf8',
      });
      assert.equal(status, 1);
      assert.deepEqual([(JSON.parse(stdout) as HarnessEvent).type, /cannot be resumed/.test(stdout)], ['error', true]);
    }
  }));

test('SIGTERM ends the turn as interrupted, after the session has been saved', () =>
  inLab(async (lab) => {
    const agent = await lab.start();
    agent.turn('slow: 300');
    await agent.see('text.delta');
    process.kill(agent.pid, 'SIGTERM');
    assert.equal((await agent.end()).status, 'interrupted');
    const saved = readFileSync(join(lab.place.home, `.centaur/demo/sessions/${agent.session}.json`), 'utf8');
    assert.match(saved, /tick 1/);
    assert.ok(!saved.includes('key-of-the-scripted-model'));
  }));
