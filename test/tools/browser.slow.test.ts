/** The tool `browser` as it is served: a real Chromium in a real sandbox, whose only way out is a real firewall, before a site of its own. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { inflateSync } from 'node:zlib';
import type { Dispatch, DispatchResult } from '../../kernel/tools/index.ts';
import { createLocalBackend } from '../../runtime/sandbox/local/index.ts';
import { createSandboxedTools, createToolRunner } from '../../runtime/tools/index.ts';
import { callers } from '../../runtime/tools/testing.ts';
import { addGrant } from '../../kernel/vault/index.ts';
import { ensureChromium } from '../support/chromium.ts';
import { createTestFirewall, type Service, startService, type TestFirewall } from '../support/firewall.ts';
import { LIMITS, PYTHON } from '../support/hosts.ts';
import { site } from '../support/site.ts';
import { eventually } from '../support/wait.ts';

const BROWSER = fileURLToPath(new URL('../../userspace/tools', import.meta.url));
const PASSWORD = 'correct horse & battery/staple+é';

const stack = new AsyncDisposableStack();
let t: TestFirewall;
let shop: Service;
let other: Service;
let at: string;
let invoke: ReturnType<typeof callers>['invoke'];
/** Threads of the test that runs. */
const called: string[] = [];
const files: { name: string; mimeType: string; data: Buffer }[] = [];
const logged: { message: string; [field: string]: unknown }[] = [];
let backend: ReturnType<typeof createLocalBackend>;

before(async () => {
  assert.equal(ensureChromium().problem, undefined);
  other = stack.use(await startService((_, response) => response.end('other'), ['forbidden.test']));
  shop = stack.use(
    await startService(site({ password: PASSWORD, forbidden: `forbidden.test:${other.port}` }), ['shop.test', 'window.test']),
  );
  t = stack.use(
    await createTestFirewall({
      config: { allow_cidrs: ['127.0.0.1'], ca_pems: [shop.caPem] },
      names: { 'shop.test': ['127.0.0.1'], 'window.test': ['127.0.0.1'], 'forbidden.test': ['127.0.0.1'] },
    }),
  );
  at = `https://shop.test:${shop.port}`;
  await t.secret('SHOP_PASSWORD', { value: PASSWORD, hosts: [`shop.test:${shop.port}`], match_body: true });
  await addGrant({ store: t.store, audit: t.installation.audit }, 'test', 'tool:browser', 'SHOP_PASSWORD');
  const root = fs.mkdtempSync(path.join(tmpdir(), 'centaur-tools-'));
  stack.defer(() => fs.rmSync(root, { recursive: true, force: true }));
  // sandboxes run as users of their own
  fs.chmodSync(root, 0o755);
  fs.mkdirSync(path.join(root, 'state'), { mode: 0o755 });
  backend = createLocalBackend({ stateDir: path.join(root, 'sandboxes'), memoryReserveMb: 64 });
  stack.defer(async () => {
    await eventually(async () => (await backend.list()).length === 0).catch(() => undefined);
    await backend.shutdown();
  });
  const log = (entry: { message: string }): void => void logged.push(entry);
  const sandboxes = createSandboxedTools({
    backend,
    installation: t.installation,
    firewall: `127.0.0.1:${t.firewall.port}`,
    postgres: `127.0.0.1:${t.firewall.postgresPort}`,
    limits: { ...LIMITS, tmpMb: 256, diskMb: 512 },
    most: { memoryMb: 2048, processes: 512 },
    python: PYTHON,
    stateDir: path.join(root, 'h'),
    env: { BROWSER_HOSTS: `shop.test:${shop.port}, window.test:${shop.port}`, BROWSER_SECRETS: `SHOP_PASSWORD@shop.test:${shop.port}` },
    log,
  });
  stack.defer(() => sandboxes.close());
  const tools = await createToolRunner({ dirs: [BROWSER], stateDir: path.join(root, 'state'), watch: false, log, ...sandboxes });
  stack.defer(() => tools.close());
  await tools.settled();
  assert.deepEqual(tools.problems(), []);
  ({ invoke } = callers(tools, t.installation));
});

after(() => stack.disposeAsync());

// a few callers have room at a time
afterEach(async () => {
  for (const each of called.splice(0)) await agent(each).does('close');
});

/** What one thread's agent does, until it hangs up. */
function agent(thread: string, signal = new AbortController().signal) {
  if (!called.includes(thread)) called.push(thread);
  const more: Partial<Dispatch> = {
    signal,
    caller: { principal: `thread:${thread}`, threadKey: thread },
    attach: async (file) => {
      files.push(file);
      return { attachment_id: `file-${files.length}`, name: file.name, mime_type: file.mimeType, size: file.data.length };
    },
  };
  const call = (method: string, args: Readonly<Record<string, unknown>> = {}): Promise<DispatchResult> =>
    invoke('browser', method, args, more);
  return {
    // results of many shapes
    // oxlint-disable-next-line typescript/no-explicit-any
    async does(method: string, args?: Readonly<Record<string, unknown>>): Promise<any> {
      const result = await call(method, args);
      if (!result.ok) assert.fail(`${method}: ${result.code}: ${result.message}`);
      return result.value;
    },
    async fails(method: string, args?: Readonly<Record<string, unknown>>): Promise<{ code: string; message: string; retryable: boolean }> {
      const result = await call(method, args);
      if (result.ok) assert.fail(`${method} should have failed: ${JSON.stringify(result.value)}`);
      return result;
    },
  };
}

test('a page is opened and read, with short names of what can be done on it', async () => {
  const { does } = agent('reads');
  const opened = await does('open', { url: `${at}/doors` });
  assert.deepEqual([opened.status, opened.title, opened.url], [200, 'Doors', `${at}/doors`]);
  assert.match(opened.text, /textbox "Words" \[ref=\w+\]/);
  assert.equal(opened.next_offset, opened.text.length);
  const rest = await does('read', { offset: opened.next_offset, limit: 40_000 });
  assert.match(rest.text, /link "Door number 299"/);
  assert.equal(rest.next_offset, undefined);

  const text = await does('read', { format: 'text', selector: 'li:nth-child(3)' });
  assert.deepEqual(text, { url: `${at}/doors`, title: 'Doors', text: 'Door number 2' });
  const links = await does('read', { format: 'links', offset: 298 });
  assert.deepEqual(
    links.items,
    [298, 299].map((n) => ({ text: `Door number ${n}`, url: `${at}/door/${n}` })),
  );
  const [form] = (await does('read', { format: 'forms' })).items;
  assert.deepEqual([form.action, form.method], [`${at}/search`, 'GET']);
  assert.deepEqual(
    form.fields.map((field: Record<string, unknown>) => [
      field['label'],
      field['type'],
      field['options'] ?? field['checked'] ?? field['value'],
    ]),
    [
      ['Colour Red Blue', 'select-one', ['Red', 'Blue']],
      ['Words', 'text', undefined],
      ['New only', 'checkbox', false],
      ['Search', 'submit', undefined],
    ].map(([label, ...more]) => [label === 'Colour Red Blue' ? form.fields[0].label : label, ...more]),
  );
});

test('elements are clicked by their short name, their words or CSS, and fields of each kind are filled', async () => {
  const { does } = agent('clicks');
  const opened = await does('open', { url: `${at}/` });
  const ref = /button "Do it" \[ref=(\w+)\]/.exec(opened.text)?.[1];
  assert.equal((await does('click', { ref })).title, 'Clicked');
  assert.equal((await does('click', { text: 'Doors' })).url, `${at}/doors`);
  const found = await does('fill', {
    fields: [
      { text: 'Colour', value: 'Blue' },
      { selector: '[name=new]', checked: true },
      { text: 'Words', value: 'oak & pine' },
    ],
    submit: true,
  });
  assert.equal(found.title, 'Found');
  assert.match(found.text, /colour=b&words=oak\+%26\+pine&new=1/);
  assert.equal((await does('back')).title, 'Doors');
  await does('click', { text: 'Words' });
  await does('press', { key: 'x' });
  assert.match((await does('press', { key: 'Enter' })).text, /words=.*x/);
});

test('what is not there is answered with what is most like it', async () => {
  const { does, fails } = agent('errs');
  assert.equal((await fails('read')).code, 'NO_PAGE');
  await does('open', { url: `${at}/login` });
  const missing = await fails('click', { text: 'Log in' });
  assert.equal(missing.code, 'NOT_FOUND');
  assert.match(missing.message, /Nearest: .*button "Sign in" \[ref=/);
  assert.equal((await fails('click', { ref: 'e999' })).code, 'NOT_FOUND');
  assert.equal((await fails('click', { selector: 'a[' })).code, 'BAD_SELECTOR');
  assert.equal((await fails('fill', { fields: [{ selector: 'h1', value: 'x' }] })).code, 'NOT_FOUND');
  assert.equal((await fails('fill', { fields: [{ text: 'Sign in', value: 'x' }] })).code, 'NOT_FOUND');
  assert.match((await fails('click', { text: 'a', selector: 'b' })).message, /one of ref, selector and text/);
  await does('open', { url: `${at}/doors` });
  const many = await fails('click', { text: 'Door number' });
  assert.equal(many.code, 'AMBIGUOUS', many.message);
  for (const url of [
    'file:///etc/passwd',
    'chrome://version',
    'javascript:alert(1)',
    'data:text/html,x',
    'view-source:https://x',
    'about:blank',
    'https://a:b@shop.test/',
  ])
    assert.equal((await fails('open', { url })).code, 'BAD_URL', url);
});

test('a login is typed as a placeholder, which the firewall exchanges, and neither page nor caller sees the password', async () => {
  const { does, fails } = agent('signs in');
  await does('open', { url: `${at}/login` });
  const fields = [
    { text: 'Name', value: 'Ada' },
    { text: 'Password', secret: 'SHOP_PASSWORD' },
  ];
  const signed = await does('fill', { fields, submit: true });
  assert.equal(signed.title, 'Signed in');
  const { text } = await does('read', { format: 'text' });
  assert.match(text, /^Hello Ada$/m);
  assert.match(text, /the page saw [\w.-]{20,}/);
  assert.ok(!text.includes(PASSWORD) && !JSON.stringify(signed).includes('battery'), text);
  assert.equal(new URLSearchParams(shop.seen.find(({ method }) => method === 'POST')?.body).get('password'), PASSWORD);
  assert.ok(!JSON.stringify(await t.entries()).includes('battery'));

  await does('open', { url: `${at}/who` });
  assert.match((await does('read', { format: 'text' })).text, /session=signed-in/);
  await does('open', { url: `https://window.test:${shop.port}/login` });
  assert.equal((await fails('fill', { fields })).code, 'WRONG_SITE');
  assert.match((await fails('fill', { fields: [{ text: 'Password', secret: 'OTHER' }] })).message, /there are SHOP_PASSWORD/);
});

test('a secret is typed into a field for passwords only', async () => {
  const { does, fails } = agent('types');
  await does('open', { url: `${at}/login` });
  const shown = await fails('fill', { fields: [{ text: 'Name', secret: 'SHOP_PASSWORD' }] });
  assert.equal(shown.code, 'NOT_A_PASSWORD', shown.message);
  assert.equal((await does('read', { format: 'forms' })).items[0].fields[0].value, undefined);
});

test('nothing is pasted: what another caller copied is in the same clipboard', async () => {
  const { does, fails } = agent('pastes');
  await does('open', { url: `${at}/login` });
  await does('fill', { fields: [{ text: 'Name', value: 'copied' }] });
  for (const key of ['Control+A', 'Control+C', 'End']) await does('press', { text: 'Name', key });
  const keys = ['v', 'V', 'KeyV'].flatMap((key) => [`Control+${key}`, `Meta+${key}`, `Control+Shift+${key}`]);
  for (const key of [...keys, 'Shift+Insert', 'Shift+Numpad0', 'Control+Shift+Insert'])
    assert.equal((await fails('press', { text: 'Name', key })).code, 'NO_CLIPBOARD', key);
  assert.equal((await does('read', { format: 'forms' })).items[0].fields[0].value, 'copied');
});

test('another caller has neither the page nor the cookies of this one', async () => {
  const [one, two] = [agent('one'), agent('another')];
  await one.does('open', { url: `${at}/login` });
  await one.does('fill', { fields: [{ text: 'Password', secret: 'SHOP_PASSWORD' }], submit: true });
  await one.does('open', { url: `${at}/who` });
  assert.equal((await two.fails('read')).code, 'NO_PAGE');
  await two.does('open', { url: `${at}/who` });
  assert.equal((await two.does('read', { format: 'text' })).text, 'nobody');
  assert.match((await one.does('read', { format: 'text' })).text, /signed-in/);
  assert.deepEqual([await one.does('close'), await one.does('close')], [{ closed: true }, { closed: false }]);
  assert.match((await one.fails('read')).message, /you closed it/);
  await one.does('open', { url: `${at}/who` });
  assert.equal((await one.does('read', { format: 'text' })).text, 'nobody');
  await one.does('close');
  await two.does('close');
});

test('a picture shows what is on the page', async () => {
  const { does } = agent('looks');
  await does('open', { url: `${at}/` });
  const told = await does('screenshot');
  const file = files.at(-1);
  assert.deepEqual([told.name, told.mime_type], ['shop.test.png', 'image/png']);
  const { width, height, at: pixel } = readPng(file?.data as Buffer);
  assert.deepEqual([width, height], [1280, 800]);
  assert.deepEqual(
    [pixel(200, 500), pixel(900, 700)],
    [
      [200, 20, 30],
      [255, 255, 255],
    ],
  );
  await does('open', { url: `${at}/doors` });
  await does('screenshot', { full_page: true });
  const heightOf = (data: Buffer | undefined): number => data?.readUInt32BE(20) ?? 0;
  assert.ok(heightOf(files.at(-1)?.data) > 4000);
  await does('screenshot', { text: 'Search' });
  assert.ok(heightOf(files.at(-1)?.data) < 100);
});

test('a host that the operator has not named is reached by no page, in no way, and each try is in the audit log', async () => {
  const { does, fails } = agent('strays');
  const forbidden = `forbidden.test:${other.port}`;
  const direct = await fails('open', { url: `https://${forbidden}/direct` });
  assert.equal(direct.code, 'HOST_NOT_DECLARED');
  assert.ok(direct.message.includes(forbidden) && direct.message.includes('BROWSER_HOSTS'), direct.message);
  const redirected = await fails('open', { url: `${at}/elsewhere` });
  assert.ok(redirected.code === 'HOST_NOT_DECLARED' && redirected.message.includes(forbidden), redirected.message);
  const before = (await t.entries('egress.deny')).length;
  await does('open', { url: `${at}/leaks` });
  await eventually(async () => !(await does('read', { format: 'text' })).text.includes('waiting'));
  const { text } = await does('read', { format: 'text' });
  for (const way of ['fetch', 'socket']) assert.match(text, new RegExp(`${way} refused`), text);
  const denied = (await t.entries('egress.deny')).slice(before);
  assert.ok(denied.length >= 5, JSON.stringify(denied));
  assert.ok(
    denied.every(({ details }) => details.code === 'HOST_NOT_DECLARED' || details.reason !== undefined),
    JSON.stringify(denied),
  );
  assert.ok(JSON.stringify(denied).includes('127.0.0.1'), 'the loopback is asked of the firewall, too');
  assert.deepEqual([other.seen.length, other.bytes], [0, 0]);
});

test('a page that hangs, asks or opens windows without end holds nobody up', async () => {
  const { does, fails } = agent('patient');
  await does('open', { url: `${at}/alerts` });
  const asked = await does('click', { text: 'Alert' });
  assert.deepEqual([asked.dialogs.length, asked.dialogs_closed], [5, 1000]);
  assert.match(asked.text, /button "over"/);

  await does('open', { url: `${at}/windows` });
  await does('click', { text: 'Many' });
  await does('open', { url: `${at}/window` });
  assert.deepEqual([(await does('click', { text: 'One' })).title, (await does('back')).title], ['Doors', 'Window']);
  const endless = await does('click', { text: 'Past it' }).catch(() => undefined);
  assert.ok(endless === undefined || endless.url === `${at}/window`, JSON.stringify(endless));

  await does('open', { url: `${at}/hangs` });
  const [hung] = await Promise.all([
    fails('click', { text: 'Hang' }),
    // meanwhile
    agent('impatient').does('open', { url: `${at}/` }),
  ]);
  assert.equal(hung.code, 'PAGE_HUNG', hung.message);
  assert.equal((await does('open', { url: `${at}/` })).title, 'The shop');
});

test("who hangs up, in a queue or at once, ends nobody else's session", async () => {
  const stays = agent('stays');
  await stays.does('open', { url: `${at}/` });
  const [first, second, third] = [new AbortController(), new AbortController(), new AbortController()];
  const waits = agent('waits', first.signal).fails('open', { url: `${at}/never` });
  await eventually(() => shop.seen.some(({ url }) => url === '/never'));
  const queued = agent('waits', second.signal).fails('read');
  const begins = agent('begins', third.signal).fails('open', { url: `${at}/` });
  // it is there before the call that cancels it
  assert.equal((await stays.does('read', { format: 'text', selector: 'h1' })).text, 'Welcome');
  second.abort();
  third.abort();
  assert.equal((await queued).code, 'TOOL_CANCELLED');
  await begins.catch(() => undefined);
  await agent('begins').does('close');
  first.abort();
  assert.equal((await waits).code, 'TOOL_CANCELLED');
  assert.equal((await stays.does('read', { format: 'text', selector: 'h1' })).text, 'Welcome');
  assert.ok(!logged.some(({ message }) => message.includes('its process is replaced')), JSON.stringify(logged));
});

test('one caller has four calls at a time', async () => {
  const { does } = agent('hurries');
  const calls = await Promise.allSettled(Array.from({ length: 6 }, () => does('open', { url: `${at}/` })));
  const refused = calls.filter((each) => each.status === 'rejected').map(({ reason }) => (reason as Error).message);
  assert.equal(refused.length, 2, JSON.stringify(refused));
  for (const each of refused) assert.match(each, /BUSY: 4 of your calls/);
  assert.equal((await does('open', { url: `${at}/` })).title, 'The shop');
});

test('what a page says to its console, its title and its outline have an end', async () => {
  const { does, fails } = agent('listens');
  const flooding = await does('open', { url: `${at}/floods` });
  assert.equal(flooding.title.length, 500);
  assert.equal((await does('read')).title.length, 500);
  await does('click', { text: 'Begin' }).catch(() => undefined);
  await eventually(
    async () =>
      !(await does('read').then(
        () => true,
        () => false,
      )),
  );
  assert.match((await fails('read')).message, /messages without end/);

  const vast = await does('open', { url: `${at}/vast` });
  assert.match(vast.text, /too large for an outline/);
  assert.equal((await fails('read')).code, 'TOO_LARGE');
  assert.match((await does('read', { format: 'text' })).text, /word word/);
  for (const selector of ['#high', '#wide']) {
    const picture = await fails('screenshot', { selector });
    assert.equal(picture.code, 'TOO_LARGE', picture.message);
  }
});

test('there is no page before the first, which stays', async () => {
  const { does, fails } = agent('first');
  await does('open', { url: `${at}/` });
  assert.equal((await fails('back')).code, 'NO_PAGE_BEFORE');
  assert.equal((await does('read', { format: 'text', selector: 'h1' })).text, 'Welcome');
});

test('a session that is slow to close takes no other along', async () => {
  const [slow, calm, next] = [agent('slow'), agent('calm'), agent('next')];
  await slow.does('open', { url: `${at}/` });
  await calm.does('open', { url: `${at}/` });
  await signalChromium('STOP');
  try {
    await slow.does('close');
    assert.equal((await next.does('open', { url: `${at}/` })).title, 'The shop', 'it begins in another Chromium');
  } finally {
    await signalChromium('CONT');
  }
  assert.equal((await calm.does('click', { text: 'Doors' })).title, 'Doors');
  assert.equal((await next.does('click', { text: 'Doors' })).title, 'Doors');
});

test('files are not downloaded, and those of the machine are not shown', async () => {
  const { does, fails } = agent('files');
  const file = await fails('open', { url: `${at}/file` });
  assert.equal(file.code, 'DOWNLOAD');
  await does('open', { url: `${at}/locals` });
  assert.ok(!JSON.stringify(await does('read')).includes('root:'));
  for (const text of ['A file', 'Inside']) assert.equal((await does('click', { text })).url, `${at}/locals`);
});

test('a page that takes too much memory ends, and so may Chromium: the next call begins anew', async () => {
  const { does, fails } = agent('greedy');
  await does('open', { url: `${at}/greedy` });
  const eaten = await fails('click', { text: 'Eat' });
  assert.match(eaten.message, /crashed/);
  await does('open', { url: `${at}/` });
  await signalChromium('KILL');
  assert.match((await fails('read')).message, /Chromium has ended/);
  assert.equal((await does('open', { url: `${at}/` })).title, 'The shop');
});

test('a few callers have room at a time', async () => {
  await Promise.all(Array.from({ length: 4 }, (_, i) => agent(`one of many ${i}`).does('open', { url: `${at}/` })));
  assert.equal((await agent('too many').fails('open', { url: `${at}/` })).code, 'BUSY');
  await agent('one of many 0').does('close');
  await agent('too many').does('open', { url: `${at}/` });
});

test('of more callers at once than there is room for, those that came first have it', async () => {
  const opened = await Promise.allSettled(Array.from({ length: 5 }, (_, i) => agent(`at once ${i}`).does('open', { url: `${at}/` })));
  const refused = opened.filter((each) => each.status === 'rejected').map(({ reason }) => (reason as Error).message);
  assert.equal(refused.length, 1, JSON.stringify(refused));
  assert.match(refused[0] ?? '', /BUSY: 4 others use the browser/);
});

async function signalChromium(signal: string): Promise<void> {
  // in one of them it runs; others may be made ahead
  const sent = await Promise.all(
    (await backend.list()).map(async ({ id }) => {
      const sandbox = await backend.open(id);
      return sandbox
        ?.exec({ argv: ['/usr/bin/pkill', `-${signal}`, '-f', 'headless'], timeoutMs: 60_000, maxOutputBytes: 1000 })
        .catch(() => undefined);
    }),
  );
  assert.ok(
    sent.some((each) => each?.code === 0),
    JSON.stringify(sent),
  );
}

/** Eight bits a channel, as Chromium writes them. */
function readPng(data: Buffer): { readonly width: number; readonly height: number; at(x: number, y: number): number[] } {
  assert.equal(data.subarray(1, 4).toString(), 'PNG');
  const [width, height] = [data.readUInt32BE(16), data.readUInt32BE(20)];
  const channels = data[25] === 6 ? 4 : 3;
  const parts: Buffer[] = [];
  for (let place = 8; place < data.length;) {
    const length = data.readUInt32BE(place);
    if (data.subarray(place + 4, place + 8).toString() === 'IDAT') parts.push(data.subarray(place + 8, place + 8 + length));
    place += length + 12;
  }
  const raw = inflateSync(Buffer.concat(parts));
  const row = width * channels;
  const lines: Buffer[] = [];
  for (let y = 0; y < height; y++) {
    const kind = raw[y * (row + 1)];
    const line = Buffer.from(raw.subarray(y * (row + 1) + 1, (y + 1) * (row + 1)));
    for (let i = 0; i < row; i++) {
      const left = i < channels ? 0 : (line[i - channels] ?? 0);
      const up = lines.at(-1)?.[i] ?? 0;
      const corner = i < channels ? 0 : (lines.at(-1)?.[i - channels] ?? 0);
      const near = [left, up, corner].toSorted((a, b) => Math.abs(left + up - corner - a) - Math.abs(left + up - corner - b))[0] ?? 0;
      const predicted = [0, left, up, (left + up) >> 1, near][kind ?? 0] ?? 0;
      line[i] = ((line[i] ?? 0) + predicted) & 0xff;
    }
    lines.push(line);
  }
  return { width, height, at: (x, y) => [...(lines[y]?.subarray(x * channels, x * channels + 3) ?? [])] };
}
