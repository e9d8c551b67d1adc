import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { eventually } from '../../test/support/wait.ts';
import { createModelServer, type ModelServer } from './index.ts';

const KEY = 'the-real-key-of-the-model';
const SHELL = { name: 'Bash', input_schema: { properties: { command: { type: 'string' }, description: { type: 'string' } } } };

type Json = Record<string, any>; // oxlint-disable-line typescript/no-explicit-any -- bodies of three formats

let server: ModelServer;
before(async () => {
  server = await createModelServer({ key: KEY, paceMs: 20 });
});
after(() => server.close());

const post = (path: string, body: unknown, headers: Record<string, string> = { 'x-api-key': KEY }) =>
  fetch(server.url + path, { method: 'POST', headers, body: typeof body === 'string' ? body : JSON.stringify(body) });

/** One user message, or a whole conversation. */
const ask = async (content: unknown, about: object = {}): Promise<Json> => {
  const messages = Array.isArray(content) && content.some((item) => 'role' in item) ? content : [{ role: 'user', content }];
  return (await (await post('/v1/messages', { model: 'm', messages, tools: [SHELL], ...about })).json()) as Json;
};

const frames = async (response: Response): Promise<Json[]> =>
  (await response.text())
    .split('\n\n')
    .map((frame) => /^data: (\{.*\})$/m.exec(frame)?.[1])
    .flatMap((data) => (data === undefined ? [] : [JSON.parse(data) as Json]));

test('without its key it answers 401, in the words of the API that was asked', async () => {
  for (const headers of [{}, { 'x-api-key': 'sk-ant-placeholder-000' }, { authorization: `Bearer ${KEY}x` }, { authorization: KEY }]) {
    const [anthropic, responses, completions] = await Promise.all(
      ['/v1/messages', '/v1/responses', '/v1/chat/completions'].map(async (path) => {
        const response = await post(path, { messages: [] }, headers);
        return { status: response.status, body: (await response.json()) as Json };
      }),
    );
    assert.deepEqual([anthropic?.status, responses?.status, completions?.status], [401, 401, 401]);
    assert.equal(anthropic?.body.error.type, 'authentication_error');
    assert.equal(responses?.body.error.code, 'invalid_api_key');
    assert.equal(completions?.body.error.code, 'invalid_api_key');
  }
});

test('either header opens it', async () => {
  for (const headers of [{ 'x-api-key': KEY }, { authorization: `Bearer ${KEY}` }]) {
    assert.equal(
      (await post('/v1/messages', { messages: [{ role: 'user', content: 'hi' }] }, headers as Record<string, string>)).status,
      200,
    );
  }
});

test('health needs no key; other paths, upgrades and bodies that are none are refused', async () => {
  assert.deepEqual(await (await fetch(`${server.url}/healthz`)).json(), { status: 'ok' });
  assert.equal((await post('/v1/other', {})).status, 404);
  assert.equal((await post('/v1/messages', '[1]')).status, 400);
  assert.equal((await post('/v1/messages', '{"messages":')).status, 400);
  assert.equal((await post('/v1/messages', '{}', { 'x-api-key': KEY, 'content-encoding': 'rot13' })).status, 415);
  assert.equal((await post('/v1/messages/count_tokens', { messages: [] })).status, 200);
});

test('Messages, streamed: a thought, a text and a call, in the order of the script', async () => {
  const body = {
    model: 'm',
    stream: true,
    tools: [{ name: 'Read', input_schema: {} }, SHELL],
    messages: [{ role: 'user', content: 'think: let me see\nsay: I look.\nrun: ls -l' }],
  };
  const all = await frames(await post('/v1/messages', body));
  assert.deepEqual(
    all.filter(({ type }) => type === 'content_block_start').map(({ content_block }) => content_block.type),
    ['thinking', 'text', 'tool_use'],
  );
  const input = all.flatMap(({ delta }) => (delta?.type === 'input_json_delta' ? [delta.partial_json] : [])).join('');
  assert.deepEqual(JSON.parse(input), { command: 'ls -l', description: 'What the script says' });
  assert.ok(all.some(({ delta }) => delta?.type === 'signature_delta'));
  assert.equal(all.find(({ type }) => type === 'message_delta')?.delta.stop_reason, 'tool_use');
  assert.equal(all.at(-1)?.type, 'message_stop');
});

const called = (result: string) => [
  { role: 'assistant', content: [{ type: 'tool_use', id: 't1', name: 'Bash', input: {} }] },
  { role: 'user', content: [{ type: 'tool_result', tool_use_id: 't1', content: [{ type: 'text', text: result }] }] },
];

test('a script goes on behind the calls that have been made, and quotes the last result if it says nothing itself', async () => {
  const prompt = { role: 'user', content: 'run: one\nrun: two' };
  const second = await ask([prompt, ...called('first output')]);
  assert.equal(second.content[0].input.command, 'two');
  const last = await ask([prompt, ...called('first output'), ...called('second output')]);
  assert.deepEqual([last.stop_reason, last.content[0].text], ['end_turn', 'The tool said:\nsecond output']);
  const said = await ask([{ role: 'user', content: 'run: one\nsay: done' }, ...called('output')]);
  assert.equal(said.content[0].text, 'done');
});

test('what the user says in the middle begins a script of its own', async () => {
  const said = { type: 'text', text: 'say: as you wish' };
  const result = { type: 'tool_result', tool_use_id: 't1', content: 'output' };
  const steered = { role: 'user', content: [result, said] };
  assert.equal((await ask([{ role: 'user', content: 'run: one' }, steered])).content[0].text, 'as you wish');
});

test('what the user says while a tool runs reaches the model in its result, in the way of Claude Code', async () => {
  const reminder =
    '<system-reminder>\nThe user sent a new message while you were working:\nsay: as you wish\n\nAddress it.\n</system-reminder>';
  const heard = await ask([{ role: 'user', content: 'run: one' }, ...called(`output\n\n${reminder}`)]);
  assert.equal(heard.content[0].text, 'as you wish');
  const other = await ask([{ role: 'user', content: 'run: one' }, ...called('output\n\n<system-reminder>\nBe brief.\n</system-reminder>')]);
  assert.equal(other.content[0].text, 'The tool said:\noutput');
});

test('what a CLI adds under the user’s name is not what the user said', async () => {
  const added = [
    '<system-reminder>say: no</system-reminder>',
    'say: yes',
    '<environment_context>say: no</environment_context>',
    '[Image: say: no]',
  ];
  const { content } = await ask(added.map((text) => ({ type: 'text', text })));
  assert.equal(content[0].text, 'yes');
});

test('text without a script is answered with itself, and images are counted', async () => {
  const { content } = await ask([
    { type: 'text', text: 'what is this?' },
    { type: 'image', source: { type: 'base64', media_type: 'image/png', data: 'AA==' } },
  ]);
  assert.equal(content[0].text, 'You said: what is this? (with 1 attachment)');
});

test('it recalls what the user said before', async () => {
  const { content } = await ask([
    { role: 'user', content: 'say: one' },
    { role: 'assistant', content: 'one' },
    { role: 'user', content: 'recall' },
  ]);
  assert.equal(content[0].text, 'Before that you said: say: one');
});

test('any tool can be called by its name, and one that is not offered is named', async () => {
  assert.deepEqual((await ask('tool: Bash {"command":"x"}')).content[0].input, { command: 'x' });
  assert.equal((await ask('tool: Fly {}')).content[0].text, 'There is no Fly among the tools.');
  assert.equal((await ask('run: ls', { tools: [] })).content[0].text, 'There is no shell among the tools.');
});

test('an error is the status in the shape of the API; with a count it passes', async () => {
  const response = await post('/v1/messages', { messages: [{ role: 'user', content: 'error: 529' }] });
  assert.deepEqual([response.status, ((await response.json()) as Json).error.type], [529, 'overloaded_error']);
  const limited = await post('/v1/responses', { input: 'error: 429' });
  assert.deepEqual([limited.status, ((await limited.json()) as Json).error.code], [429, 'rate_limit_exceeded']);
  const answers = [];
  for (let attempt = 0; attempt < 4; attempt += 1) answers.push((await ask('error: 500 2\nsay: at last')).content?.[0].text);
  assert.deepEqual(answers, [undefined, undefined, 'at last', undefined]);
});

test('slow deltas are spaced in time, and long texts are as long as asked for', async () => {
  const began = performance.now();
  const messages = [{ role: 'user', content: 'slow: 5' }];
  const all = await frames(await post('/v1/messages', { stream: true, messages }));
  assert.ok(performance.now() - began >= 80);
  assert.equal(all.filter(({ delta }) => delta?.type === 'text_delta').length, 5);
  assert.equal((await ask('long: 64')).content[0].text.length, 64 * 1024);
});

test('a cut stream has no end', async () => {
  const response = await post('/v1/messages', { stream: true, messages: [{ role: 'user', content: 'cut' }] });
  await assert.rejects(response.text(), /terminated/);
});

test('the key is repeated when a prompt asks for it, and is in no log', async () => {
  assert.equal((await ask('echo-key')).content[0].text, `The key was ${KEY}`);
  assert.ok(server.requests.length > 10);
  assert.ok(!JSON.stringify(server.requests).includes(KEY));
});

test('Responses, streamed: the shell by whichever name and parameters it is offered', async () => {
  const shells: [object, object][] = [
    [{ type: 'function', name: 'exec_command', parameters: { properties: { cmd: { type: 'string' } } } }, { cmd: 'ls' }],
    [{ type: 'function', name: 'shell', parameters: { properties: { command: { type: 'array' } } } }, { command: ['bash', '-lc', 'ls'] }],
    [{ type: 'function', name: 'bash', parameters: { properties: { command: { type: 'string' } } } }, { command: 'ls' }],
  ];
  for (const [tool, expected] of shells) {
    const all = await frames(
      await post('/v1/responses', { stream: true, tools: [tool], input: [{ role: 'user', content: 'think: so\nrun: ls' }] }),
    );
    const { response } = all.at(-1) as Json;
    assert.equal(all.at(-1)?.type, 'response.completed');
    assert.deepEqual(JSON.parse(response.output[1].arguments), expected);
  }
  const local = await frames(await post('/v1/responses', { stream: true, tools: [{ type: 'local_shell' }], input: 'run: ls' }));
  assert.deepEqual(local.at(-1)?.response.output[0].action.command, ['bash', '-lc', 'ls']);
});

test('Responses: a tool of a namespace is called by both names', async () => {
  const tools = [{ type: 'namespace', name: 'mcp__files', tools: [{ type: 'function', name: 'read', parameters: {} }] }];
  const all = await frames(await post('/v1/responses', { stream: true, tools, input: 'tool: mcp__files__read {"path":"a"}' }));
  const [call] = (all.at(-1) as Json).response.output;
  assert.deepEqual([call.name, call.namespace, JSON.parse(call.arguments)], ['read', 'mcp__files', { path: 'a' }]);
});

test('Responses: the output of a call continues the script', async () => {
  const input = [
    { role: 'user', content: [{ type: 'input_text', text: 'run: ls' }] },
    { type: 'function_call', call_id: 'c', name: 'shell', arguments: '{}' },
    { type: 'function_call_output', call_id: 'c', output: 'a.txt' },
  ];
  const { output } = (await (await post('/v1/responses', { input })).json()) as Json;
  assert.equal(output[0].content[0].text, 'The tool said:\na.txt');
});

test('chat completions, streamed: text, calls, usage and the end', async () => {
  const tools = [{ type: 'function', function: { name: 'bash', parameters: { properties: { command: { type: 'string' } } } } }];
  const messages = [{ role: 'user', content: 'say: I look.\nrun: ls' }];
  const response = await post('/v1/chat/completions', { stream: true, tools, messages });
  const text = await response.clone().text();
  const all = await frames(response);
  assert.equal(all.map(({ choices }) => choices[0]?.delta.content ?? '').join(''), 'I look.');
  const call = all.flatMap(({ choices }) => choices[0]?.delta.tool_calls ?? [])[0];
  assert.deepEqual(JSON.parse(call.function.arguments), { command: 'ls' });
  assert.equal(all.at(-2)?.choices[0].finish_reason, 'tool_calls');
  assert.ok(all.at(-1)?.usage.completion_tokens > 0);
  assert.ok(text.endsWith('data: [DONE]\n\n'));
  const whole = (await (
    await post('/v1/chat/completions', { tools, messages: [...messages, { role: 'tool', content: 'a.txt' }] })
  ).json()) as Json;
  assert.equal(whole.choices[0].message.content, 'The tool said:\na.txt');
});

test('compressed requests are read', async () => {
  const body = JSON.stringify({ messages: [{ role: 'user', content: 'say: small' }] });
  for (const [encoding, bytes] of [
    ['gzip', gzipSync(body)],
    ['zstd', zstdCompressSync(body)],
  ] as const) {
    const response = await fetch(`${server.url}/v1/messages`, {
      method: 'POST',
      headers: { 'x-api-key': KEY, 'content-encoding': encoding },
      body: new Uint8Array(bytes),
    });
    assert.equal(((await response.json()) as Json).content[0].text, 'small');
  }
});

test('a client that hangs up ends its slow answer', async () => {
  const pausing = () => process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length;
  const before = pausing();
  const unhurried = await createModelServer({ key: KEY, paceMs: 60_000 });
  const gone = new AbortController();
  const response = await fetch(`${unhurried.url}/v1/messages`, {
    method: 'POST',
    headers: { 'x-api-key': KEY },
    body: JSON.stringify({ stream: true, messages: [{ role: 'user', content: 'slow: 2' }] }),
    signal: gone.signal,
  });
  await response.body?.getReader().read();
  assert.ok(pausing() > before);
  gone.abort();
  await eventually(() => pausing() <= before);
  await unhurried.close();
});

test('with a certificate it speaks HTTPS', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'centaur-model-server-'));
  const [keyFile, certFile] = [join(folder, 'key.pem'), join(folder, 'cert.pem')];
  const about = [
    'req',
    '-x509',
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:prime256v1',
    '-nodes',
    '-days',
    '1',
    '-subj',
    '/CN=localhost',
  ];
  spawnSync('openssl', [...about, '-keyout', keyFile, '-out', certFile], { stdio: 'ignore' });
  const tls = { key: readFileSync(keyFile, 'utf8'), cert: readFileSync(certFile, 'utf8') };
  rmSync(folder, { recursive: true });
  const secure = await createModelServer({ key: KEY, tls });
  const status = await new Promise((resolve, reject) => {
    const options = { ca: tls.cert, servername: 'localhost' };
    request(`${secure.url}/healthz`, options, (response) => resolve(response.resume().statusCode))
      .on('error', reject)
      .end();
  });
  assert.equal(status, 200);
  assert.match(secure.url, /^https:/);
  await secure.close();
});

test('started by itself it wants its key from the environment, and prints it nowhere', async () => {
  const main = fileURLToPath(new URL('main.ts', import.meta.url));
  assert.equal(spawnSync(process.execPath, [main], { env: {} }).status, 2);
  const child = spawn(process.execPath, [main, '--port', '0'], { env: { MODEL_SERVER_KEY: KEY } });
  let printed = '';
  child.stderr.on('data', (data: Buffer) => (printed += data.toString()));
  const url = await new Promise<string>((resolve) => {
    child.stdout.on('data', (data: Buffer) => {
      printed += data.toString();
      const found = /http:\S+/.exec(printed)?.[0];
      if (found !== undefined) resolve(found);
    });
  });
  assert.equal((await fetch(`${url}/healthz`)).status, 200);
  child.kill('SIGTERM');
  assert.equal(await new Promise((resolve) => child.on('exit', resolve)), 0);
  assert.ok(!printed.includes(KEY));
});
